"""Which checkpoints are deleted to keep a budget (a table), and that a driver keeps it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scripted import experiment

from trainables.errors import StorageError
from trainables.run_folder import BEST_WEIGHTS, LAST_STATE
from trainables.specs.workload import Direction
from tuning.checkpoints import budget as checkpoint_budget
from tuning.checkpoints.budget import Budget, Kept, best_trials, to_remove
from tuning.ledger.attempts import Attempt
from tuning.ledger.history import History
from tuning.ledger.ledger import Ledger, read_records
from tuning.ledger.outcomes import Outcome
from tuning.ledger.recorder import Halt, Recorder
from tuning.ledger.records import (
    EndedRecord,
    ExperimentRecord,
    OverBudgetRecord,
    RemovedRecord,
    StartedRecord,
)
from tuning.ranking.finalists import finalists
from tuning.ranking.order import best_first
from tuning.ranking.policy import FINISHED_THEN_STOPPED, NOT_COMPARABLE

# --- which ------------------------------------------------------------------------------------

EVERY_KIND = [
    Kept(0, Outcome.COMPLETED, 0.9, last=10, best=4),
    Kept(1, Outcome.PRUNED, 0.3, last=10, best=4),
    Kept(2, Outcome.FAILED, None, last=10, best=4),
    Kept(3, None, 0.1, last=10, best=4),
    Kept(4, Outcome.DIVERGED, None, last=10, best=4),
    Kept(5, Outcome.EARLY_STOPPED, 0.5, last=10, best=4),
    Kept(6, Outcome.STOPPED, 0.2, last=10, best=4),
    Kept(7, Outcome.INTERRUPTED, 0.1, last=10, best=4),
    Kept(8, Outcome.COMPLETED, 0.7, last=10, best=4),
    Kept(9, Outcome.REUSED, 0.9),
]
IN_ORDER = [
    # States of trials that were stopped, then of those that ran to their end,
    *[(trial, LAST_STATE) for trial in (1, 4, 6, 0, 5, 8)],
    # weights of trials that were stopped, then of those that ran to their end, without the best two,
    *[(trial, BEST_WEIGHTS) for trial in (4, 6, 1, 5)],  # worst first
    # and the checkpoints that a failed trial could continue from.
    (2, LAST_STATE), (2, BEST_WEIGHTS),
]  # fmt: skip


def removed(budget: int, direction: Direction = Direction.MAXIMIZE) -> list[tuple[int, str]]:
    keep = best_trials(EVERY_KIND, 2, direction)
    return [(r.trial, r.name) for r in to_remove(EVERY_KIND, budget, direction=direction, keep=keep)]


def test_all_goes_in_order_but_what_runs_and_the_best() -> None:
    assert removed(0) == IN_ORDER


@pytest.mark.parametrize("gone", range(len(IN_ORDER) + 1))
def test_no_more_goes_than_need_be(gone: int) -> None:
    size = {LAST_STATE: 10, BEST_WEIGHTS: 4}
    whole = sum(each.last + each.best for each in EVERY_KIND)
    freed = sum(size[name] for _, name in IN_ORDER[:gone])
    assert removed(whole - freed) == IN_ORDER[:gone]
    if gone:
        assert removed(whole - freed + 1) == IN_ORDER[:gone]


def test_of_finished_trials_those_outside_their_constraints_go_first() -> None:
    kept = [replace(each, feasible=each.trial != 0) for each in EVERY_KIND]
    keep = best_trials(kept, 1, Direction.MAXIMIZE)
    assert keep == {8}
    gone = [
        r.trial for r in to_remove(kept, 0, direction=Direction.MAXIMIZE, keep=keep) if r.name == BEST_WEIGHTS
    ]
    assert gone == [4, 6, 1, 0, 5, 2]


def test_where_smaller_is_better_the_largest_goes_first() -> None:
    order = [trial for trial, name in removed(0, Direction.MINIMIZE) if name == BEST_WEIGHTS]
    assert order == [4, 1, 6, 0, 2]


def test_files_that_are_not_there_are_not_removed() -> None:
    kept = [Kept(0, Outcome.PRUNED, 0.5, last=0, best=5), Kept(1, Outcome.PRUNED, 0.6, last=7, best=0)]
    gone = to_remove(kept, 0, direction=Direction.MAXIMIZE, keep=())
    assert [(r.trial, r.name, r.bytes) for r in gone] == [(1, LAST_STATE, 7), (0, BEST_WEIGHTS, 5)]
    assert to_remove([], 0, direction=Direction.MAXIMIZE, keep=()) == []


def test_the_best_are_those_that_ran_out_before_any_that_was_cut_short() -> None:
    cut = Kept(0, Outcome.PRUNED, 0.99, best=4)
    out = [Kept(n, Outcome.COMPLETED, value, best=4) for n, value in ((1, 0.5), (2, 0.7), (3, 0.7))]
    assert best_trials([cut, *out], 2, Direction.MAXIMIZE) == {2, 3}
    assert best_trials([cut, *out], 1, Direction.MAXIMIZE) == {2}  # of equal ones the earlier
    assert best_trials([cut, *out], 4, Direction.MAXIMIZE) == {0, 1, 2, 3}
    assert (
        best_trials([Kept(0, Outcome.FAILED, None), Kept(1, None, 0.3)], 3, Direction.MAXIMIZE) == frozenset()
    )


def test_weights_go_in_the_reverse_of_the_ranking() -> None:
    """Trials that are not ranked come first; of equal trials, the one with the higher number."""
    rng = random.Random(0)
    for _ in range(300):
        direction = rng.choice(list(Direction))
        kept = [
            Kept(number, outcome, value, last=10, best=4)
            for number in range(rng.randrange(12))
            for outcome in [rng.choice([*Outcome, None])]
            for value in [None if outcome in NOT_COMPARABLE else rng.choice((0.1, 0.2, 0.2, 0.3))]
        ]
        ranked = [e.trial for e in best_first(kept, Kept.entry, FINISHED_THEN_STOPPED, direction)]
        expected = sorted(
            (each for each in kept if each.outcome in (*_FINISHED, *_STOPPED)),
            key=lambda each: (each.outcome in _STOPPED, direction.sign * (each.value or 0), each.trial),
        )
        assert ranked == [each.trial for each in expected]
        few = rng.randrange(4)
        keep = best_trials(kept, few, direction)
        assert keep == set(ranked[:few])
        rng.shuffle(kept)
        gone = to_remove(kept, 0, direction=direction, keep=keep)
        weights = [r.trial for r in gone if r.name == BEST_WEIGHTS]
        diverged = sorted(each.trial for each in kept if each.outcome is Outcome.DIVERGED)
        failed = sorted(each.trial for each in kept if each.outcome is Outcome.FAILED)
        assert weights == [*diverged, *reversed(ranked[few:]), *failed]


_FINISHED = (Outcome.COMPLETED, Outcome.EARLY_STOPPED)
_STOPPED = (Outcome.PRUNED, Outcome.STOPPED)


# --- kept -------------------------------------------------------------------------------------

KB = 1e-6
"""In GB."""


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Drive:
    """A driver's record, without Ray: trials of 1 KB states and 100 bytes of weights."""

    def __init__(self, folder: Path, scoring: dict[str, Any], **checkpoints: Any) -> None:
        self.asked = experiment(checkpoints=checkpoints, scoring=scoring)
        self.folder, self.clock = folder, Clock()
        header = ExperimentRecord(name="sweep", file="", experiment=self.asked.model_dump(mode="json"))
        self.ledger = Ledger.create(folder, header)
        self.sweep = Recorder(self.ledger, History(header))
        self.budget = Budget(self.asked, folder, self.sweep, self.clock)

    def file(self, number: int, name: str) -> Path:
        return self.folder / "trials" / f"{number:04d}" / name

    def start(self, number: int) -> None:
        self.sweep.record(StartedRecord(trial=number, params={"x": number}, hash=str(number)))
        self.file(number, LAST_STATE).parent.mkdir(parents=True)
        self.file(number, LAST_STATE).write_bytes(bytes(1000))
        self.file(number, BEST_WEIGHTS).write_bytes(bytes(100))

    def end(self, number: int, value: float | None, outcome: Outcome = Outcome.COMPLETED) -> None:
        self.sweep.record(EndedRecord(trial=number, outcome=outcome, value=value, epoch=1.0))

    def check(self, times: int = 1) -> None:
        for _ in range(times):
            self.clock.now += checkpoint_budget.POLL_INTERVAL_S
            self.budget.check()

    def left(self, name: str) -> list[int]:
        return sorted(int(path.parent.name) for path in self.folder.glob(f"trials/*/{name}"))

    def records(self, kind: type[Any]) -> list[Any]:
        return [record for record in read_records(self.folder) if isinstance(record, kind)]


@pytest.fixture
def drives(tmp_path: Path) -> Iterator[list[Drive]]:
    made: list[Drive] = []
    yield made
    for drive in made:
        drive.ledger.close()


def driven(drives: list[Drive], folder: Path, *, finalists: int = 0, **checkpoints: Any) -> Drive:
    scoring = {"finalists": finalists} if finalists else {"trials": "none"}
    drives.append(Drive(folder, scoring, **checkpoints))
    return drives[-1]


def test_a_budget_is_kept_while_trials_come_and_go(drives: list[Drive], tmp_path: Path) -> None:
    drive = driven(drives, tmp_path / "sweep", budget_gb=2.5 * KB, keep_best=2)
    for number, value in enumerate((0.5, 0.9, 0.1, 0.7)):
        drive.start(number)
        drive.check()
        drive.end(number, value)
        drive.check(2)  # seen to have ended, then settled
    assert drive.left(LAST_STATE) == [2, 3]
    assert drive.left(BEST_WEIGHTS) == [0, 1, 2, 3]
    gone = drive.records(RemovedRecord)
    assert [(r.trial, r.files, r.bytes) for r in gone] == [(0, [LAST_STATE], 1000), (1, [LAST_STATE], 1000)]
    assert drive.sweep.history.trials[0].removed == (LAST_STATE,)
    assert drive.records(OverBudgetRecord) == []


def test_a_trial_that_has_just_ended_may_still_be_written(drives: list[Drive], tmp_path: Path) -> None:
    drive = driven(drives, tmp_path / "sweep", budget_gb=0.1 * KB, keep_best=1)
    drive.start(0)
    drive.end(0, 0.5)
    drive.check()
    assert drive.left(LAST_STATE) == [0]
    drive.file(0, BEST_WEIGHTS).write_bytes(bytes(300))  # by its worker, late
    drive.check()
    assert drive.left(LAST_STATE) == []
    (over,) = drive.records(OverBudgetRecord)
    assert (over.bytes, over.reason) == (300, "what is left belongs to trials that run, and to the best ones")
    drive.check(3)
    assert len(drive.records(OverBudgetRecord)) == 1  # said once


def test_a_driver_that_was_taken_over_removes_nothing_more(
    drives: list[Drive], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither what it would decide now, nor what it had recorded and could not remove then."""
    drive = driven(drives, tmp_path / "sweep", budget_gb=1.5 * KB, keep_best=1)
    for number in (0, 1):
        drive.start(number)
        drive.end(number, float(number))

    def fail(path: Path, missing_ok: bool = False) -> None:
        raise OSError("busy")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", fail)
        drive.check(2)
    assert [record.trial for record in drive.records(RemovedRecord)] == [0]
    Attempt.claim(drive.folder).end()
    with pytest.raises(Halt):
        drive.check(9)
    assert drive.left(LAST_STATE) == [0, 1]


def test_those_that_are_to_be_scored_keep_their_weights(drives: list[Drive], tmp_path: Path) -> None:
    """Finalists are the best by value, whether or not they ran to their end."""
    drive = driven(drives, tmp_path / "sweep", budget_gb=0.1 * KB, keep_best=1, finalists=2)
    for number, value in enumerate((0.5, 0.4, 0.3)):
        drive.start(number)
        drive.end(number, value)
    drive.start(3)
    drive.end(3, 0.9, Outcome.PRUNED)
    drive.budget.finish()
    assert drive.left(BEST_WEIGHTS) == sorted({0, *finalists(drive.asked, drive.sweep.history)})


def test_at_the_end_nothing_is_waited_for(drives: list[Drive], tmp_path: Path) -> None:
    drive = driven(drives, tmp_path / "sweep", budget_gb=0.15 * KB, keep_best=1)
    for number in range(checkpoint_budget.AT_ONCE + 5):
        drive.start(number)
        drive.end(number, float(number))
    drive.budget.finish()
    assert drive.left(LAST_STATE) == []
    assert drive.left(BEST_WEIGHTS) == [checkpoint_budget.AT_ONCE + 4]


def test_without_a_budget_no_size_is_read(
    drives: list[Drive], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drive = driven(drives, tmp_path / "sweep")
    monkeypatch.setattr(checkpoint_budget, "sizes", lambda places: pytest.fail("a size was read"))
    drive.start(0)
    drive.end(0, 0.5)
    drive.budget.begin()
    drive.check(2)
    drive.budget.finish()
    assert drive.left(LAST_STATE) == [0]


def test_only_sizes_that_may_have_changed_are_read(
    drives: list[Drive], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drive = driven(drives, tmp_path / "sweep", budget_gb=1.0)
    asked: list[int] = []
    real = checkpoint_budget.sizes
    monkeypatch.setattr(checkpoint_budget, "sizes", lambda files: asked.append(len(files)) or real(files))
    for number in range(20):
        drive.start(number)
        drive.end(number, 0.5)
        drive.check()
    assert max(asked) <= 2 * 2


def test_where_a_file_cannot_be_removed_no_other_goes_in_its_place_and_it_is_tried_again(
    drives: list[Drive], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drive = driven(drives, tmp_path / "sweep", budget_gb=1.5 * KB, keep_best=1)
    for number in range(2):
        drive.start(number)
        drive.end(number, 0.5)
    unlink, working = Path.unlink, [False]

    def refused(path: Path, missing_ok: bool = False) -> None:
        if path.name == LAST_STATE and path.parent.name == "0000" and not working[0]:
            raise PermissionError(13, "Permission denied")
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refused)
    drive.check(4)
    (over,) = drive.records(OverBudgetRecord)
    assert "0000/last.ckpt cannot be removed" in over.reason
    assert drive.left(LAST_STATE) == [0, 1]
    working[0] = True
    drive.check(int(checkpoint_budget.BACK_OFF_S / checkpoint_budget.POLL_INTERVAL_S))
    assert drive.left(LAST_STATE) == [1]
    assert [record.trial for record in drive.records(RemovedRecord)] == [0]


def test_a_store_that_does_not_answer_is_not_asked_in_each_round(
    drives: list[Drive], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drive = driven(drives, tmp_path / "sweep", budget_gb=1.0)
    drive.start(0)
    asked: list[float] = []

    def silent(files: Any) -> list[int]:
        asked.append(drive.clock.now)
        drive.clock.now += 30.0  # until it gives up
        raise StorageError("no answer")

    monkeypatch.setattr(checkpoint_budget, "sizes", silent)
    for _ in range(20):
        drive.clock.now += 0.1
        drive.budget.check()
    assert len(asked) == 1
    drive.check(100)
    assert 1 < len(asked) < 8  # of 100


def test_the_next_driver_takes_up_what_is_there(drives: list[Drive], tmp_path: Path) -> None:
    drive = driven(drives, tmp_path / "sweep", budget_gb=1.0)
    for number in range(3):
        drive.start(number)
    drive.end(0, 0.1, Outcome.PRUNED)
    drive.end(1, 0.2)
    drive.end(2, 0.3, Outcome.INTERRUPTED)
    smaller = experiment(checkpoints={"budget_gb": 1.2 * KB, "keep_best": 1}, scoring={"trials": "none"})
    budget = Budget(smaller, drive.folder, drive.sweep, drive.clock)
    budget.begin()
    budget.check()
    assert (drive.left(LAST_STATE), drive.left(BEST_WEIGHTS)) == ([2], [1, 2])
