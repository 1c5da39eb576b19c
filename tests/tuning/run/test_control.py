from __future__ import annotations

from pathlib import Path

import pytest

from trainables.errors import ClusterError
from trainables.run_folder import BASELINE_CLAIM, CONTROL
from tuning.ledger.outcomes import Ending
from tuning.ledger.recorder import Halt
from tuning.run.control import Control


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def control(tmp_path: Path, clock: Clock) -> Control:
    """What is polled in the folder of an experiment that exists."""
    (tmp_path / CONTROL).mkdir()
    return Control(tmp_path, clock)


def asked(folder: Path, *names: str) -> None:
    for name in names:
        (folder / CONTROL / name).touch()


def test_each_request_is_given_once(control: Control, tmp_path: Path, clock: Clock) -> None:
    asked(tmp_path, "stop-2", "stop-11", "stop")
    assert sorted(control.requests(), key=str) == [11, 2, None]
    clock.now = 1.0
    assert control.requests() == []


@pytest.mark.parametrize("name", ["stop-x", "stopped", "stopped.3", "readme"])
def test_other_files_are_no_requests_and_stay(control: Control, tmp_path: Path, name: str) -> None:
    asked(tmp_path, name)
    assert control.requests() == []
    assert (tmp_path / CONTROL / name).exists()


def test_requests_are_polled_twice_a_second(control: Control, tmp_path: Path, clock: Clock) -> None:
    assert control.requests() == []
    asked(tmp_path, "stop-1")
    clock.now = 0.4
    assert control.requests() == []
    clock.now = 0.6
    assert control.requests() == [1]


def test_without_a_folder_nothing_is_asked(tmp_path: Path) -> None:
    assert Control(tmp_path).requests() == []
    assert not Control(tmp_path, lambda: 9.0).end_asked()


def test_a_signal_ends_the_sweep_whenever_it_is_polled(tmp_path: Path, clock: Clock) -> None:
    control = Control(tmp_path, clock, halted=lambda: True)
    assert control.requests() == control.requests() == [None]
    assert control.end_asked()


def test_a_lost_ray_halts_the_sweep_and_a_signal_is_answered_first(tmp_path: Path, clock: Clock) -> None:
    control = Control(tmp_path, clock, lost=lambda: True)
    for check in (control.require_ray, control.requests):
        with pytest.raises(Halt) as halt:
            check()
        assert halt.value.ending is Ending.FAILED
        assert isinstance(halt.value.error, ClusterError)
        assert "adaptertune resume" in str(halt.value.error)
    assert Control(tmp_path, clock, halted=lambda: True, lost=lambda: True).requests() == [None]


def test_a_stopped_trial_is_marked_for_its_worker(tmp_path: Path) -> None:
    Control(tmp_path).mark_stopped(2)
    assert [path.name for path in (tmp_path / CONTROL).iterdir()] == ["stopped.2"]


@pytest.mark.parametrize(
    ("content", "released"), [("3", True), ("4", False), ("", False), ("by hand", False), (None, False)]
)
def test_the_claim_of_a_dead_worker_on_the_baseline_is_released(
    control: Control, tmp_path: Path, content: str | None, *, released: bool
) -> None:
    claim = tmp_path / BASELINE_CLAIM
    if content is not None:
        claim.write_text(content)
    control.release_baseline([1, 3])
    assert claim.exists() is (content is not None and not released)


def test_requests_are_not_taken_from_a_driver_that_has_taken_over(tmp_path: Path, clock: Clock) -> None:
    def refuse() -> None:
        raise Halt(Ending.FAILED)

    (tmp_path / CONTROL).mkdir()
    asked(tmp_path, "stop")
    with pytest.raises(Halt):
        Control(tmp_path, clock, require_ours=refuse).requests()
    assert (tmp_path / CONTROL / "stop").exists()


def test_workers_of_a_driver_that_has_taken_over_are_told_nothing(tmp_path: Path) -> None:
    def refuse() -> None:
        raise Halt(Ending.FAILED)

    control = Control(tmp_path, require_ours=refuse)
    (tmp_path / BASELINE_CLAIM).write_text("3")
    with pytest.raises(Halt):
        control.mark_stopped(3)
    with pytest.raises(Halt):
        control.mark_paused(3)
    with pytest.raises(Halt):
        control.release_baseline([3])
    assert [path.name for path in tmp_path.iterdir()] == [BASELINE_CLAIM]
