from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chaos import descendants
from ray._private.node import Node

from cluster import ray_processes
from cluster.connect import connect
from cluster.ray_processes import only_needed_processes

UNUSED = ("dashboard.py", "monitor.py", "log_monitor.py")


@pytest.fixture
def methods() -> Iterator[dict[str, Any]]:
    """Ray's methods, which must be in their places again."""
    before = {name: getattr(Node, name) for name in ray_processes._UNUSED}
    yield before
    assert {name: getattr(Node, name) for name in before} == before


def test_a_ray_on_this_machine_starts_what_it_needs_and_no_more(
    methods: dict[str, Any], tmp_path: Path
) -> None:
    import os

    import ray

    with connect(None, threads=1, log=tmp_path / "ray.log"):
        started = [process.name for process in descendants(os.getpid())]
        assert ray.get(ray.remote(lambda: 1 + 1).remote()) == 2
    assert any("gcs_server" in name for name in started)
    assert any("raylet" in name for name in started)
    assert [name for name in started if any(script in name for script in UNUSED)] == []
    assert not (tmp_path / "ray.log").exists()


def test_the_methods_are_put_back_after_an_error(methods: dict[str, Any]) -> None:
    def use() -> None:
        with only_needed_processes():
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        use()


def test_a_ray_without_such_a_method_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Node, "start_monitor")
    before = Node.start_log_monitor
    with only_needed_processes():
        assert not hasattr(Node, "start_monitor")
        assert Node.start_log_monitor is not before
    assert not hasattr(Node, "start_monitor")
