"""Measurements of one worker, and steps of the others, on the same machine."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from trainables.workers.quiet_machine import UNLOCKED, QuietMachine, quiet_machine


def test_no_step_runs_during_a_measurement_and_neither_starves(tmp_path: Path) -> None:
    lock, at_work, seen = threading.Lock(), 0, []

    def train() -> None:
        nonlocal at_work
        machine = QuietMachine(tmp_path)
        for _ in range(60):
            with machine.busy():
                with lock:
                    at_work += 1
                with lock:
                    at_work -= 1

    def measure() -> None:
        machine = QuietMachine(tmp_path)
        for _ in range(8):
            with machine.alone() as held, lock:
                seen.append((held, at_work))

    threads = [threading.Thread(target=each) for each in (train, measure, train, measure, train)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [(True, 0)] * 16


def test_a_measurement_waits_for_the_step_that_runs(tmp_path: Path) -> None:
    order = []
    training, measuring = QuietMachine(tmp_path), QuietMachine(tmp_path)

    def measure() -> None:
        with measuring.alone() as held:
            order.append(f"measured {held}")

    thread = threading.Thread(target=measure)
    with training.busy():
        thread.start()
        order.append("stepped")
    thread.join()
    assert order == ["stepped", "measured True"]


def test_one_that_hangs_stops_nobody_for_good(tmp_path: Path) -> None:
    hanging, other = QuietMachine(tmp_path, wait_s=0.0), QuietMachine(tmp_path, wait_s=0.0)
    with hanging.busy(), other.alone() as held:
        assert not held
    with hanging.alone() as held, other.busy():
        assert held
    with other.alone() as held:
        assert held, "all locks are free again"


def test_without_a_folder_nothing_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "file"))
    quiet_machine.cache_clear()
    machine = quiet_machine()
    quiet_machine.cache_clear()
    assert machine is UNLOCKED
    with machine.busy(), machine.alone() as held:
        assert not held
