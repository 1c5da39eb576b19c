from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scripted import trial_job

from cluster.ray_worker import Worker

ConfigOf = Callable[..., dict[str, Any]]


@pytest.fixture
def config(tmp_path: Path) -> ConfigOf:
    """Ray's configuration of a trial, by its number."""

    def of(number: int, trainable: str = "scripted:Scripted") -> dict[str, Any]:
        return trial_job(tmp_path, number, trainable=trainable).for_ray()

    return of


def worker_of(given: dict[str, Any]) -> Worker:
    """A worker set up as in Ray, without the folders that Ray makes for a trial."""
    worker: Worker = Worker.__new__(Worker)
    worker.setup(given)
    return worker


def test_the_named_trainable_takes_every_step_and_is_kept_for_the_next_trial(config: ConfigOf) -> None:
    worker = worker_of(config(0))
    real = worker._real
    assert [worker.step()["epoch"] for _ in range(2)] == [1, 2]
    assert worker.reset_config(config(1))
    assert worker._real is real
    first = worker.step()
    assert (first["trial"], first["epoch"], first["done"]) == (1, 1, False)


def test_a_trainable_that_cannot_be_imported_or_set_up_fails_its_trial_with_the_reason(
    config: ConfigOf,
) -> None:
    worker = worker_of(config(0, "scripted:Missing"))
    result = worker.step()
    assert result["done"]
    assert result["trial"] == 0
    assert result["failure"]["outcome"] == "failed"
    assert "Missing" in result["failure"]["reason"]
    assert worker.reset_config(config(1))  # the next trial can succeed
    assert worker.step()["failure"] is None


def test_a_fault_on_a_swap_lets_the_trial_before_it_save_what_it_has(
    config: ConfigOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = worker_of(config(0))
    real, cleaned = worker._real, []

    def cleanup() -> None:
        cleaned.append(1)
        raise OSError("no space")

    monkeypatch.setattr(real, "cleanup", cleanup)
    monkeypatch.setattr(real, "reset_config", lambda config: 1 / 0)
    assert worker.reset_config(config(1))
    assert cleaned == [1]
    assert "ZeroDivisionError" in worker.step()["failure"]["reason"]


def test_nothing_is_left_in_the_home_folder(config: ConfigOf) -> None:
    home = Path.home() / "ray_results"
    before = list(home.glob("*"))
    worker_of(config(0)).step()
    assert list(home.glob("*")) == before
