"""Fixtures for tests of sweeps from Python."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from python_sweeps import use
from scripted import Scripted


@pytest.fixture(scope="module")
def users_ray() -> Iterator[None]:
    """A Ray as a user's notebook starts it: not one that `ray start` has left in this machine's /tmp/ray."""
    import ray

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The storage of a test's sweeps; their trials are scripted."""
    monkeypatch.setenv("ADAPTERTUNE_STORAGE", str(tmp_path / "experiments"))
    use(monkeypatch, tmp_path / "data")
    return tmp_path / "experiments"


@pytest.fixture
def trained_by(
    storage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[type[Scripted]], None]:
    """A function that replaces the trainable of the test's sweeps."""

    def give(trainable: type[Any]) -> None:
        use(monkeypatch, tmp_path / "data", trainable)

    return give
