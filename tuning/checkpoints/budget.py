"""Which checkpoints `checkpoints.budget_gb` removes, and when. The choice of files is a pure function.

Sizes are tracked: each check reads those of the trials that run or have just ended, not of all trials.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from trainables.errors import StorageError
from trainables.run_folder import BEST_WEIGHTS, LAST_STATE
from trainables.specs.workload import Direction
from trainables.storage_paths import Place, StorePath, sizes
from tuning.experiment.spec import Experiment
from tuning.ledger.outcomes import RAN_TO_END, Outcome
from tuning.ledger.recorder import Recorder
from tuning.ledger.records import OverBudgetRecord, RemovedRecord
from tuning.ledger.storage import checkpoint_root, trial_folder
from tuning.ranking.finalists import finalists
from tuning.ranking.order import Entry, best_first
from tuning.ranking.policy import FINISHED_THEN_STOPPED

GB = 10**9
POLL_INTERVAL_S = 2.0
BACK_OFF_S = 120.0
"""The interval doubles after each check that failed, up to this."""
SETTLES_AFTER_S = 2.0
"""A worker may write the best weights of a stopped trial until this long after the trial's end."""
AT_ONCE = 200
"""Trials that lose files in one check, so that the driver's loop continues in between."""
AT_STORE = (10.0, 25)
"""The interval and the number of trials for an object store, where each file takes longer."""

_CUT_SHORT = frozenset({Outcome.PRUNED, Outcome.STOPPED, Outcome.DIVERGED})


@dataclass(frozen=True)
class Kept:
    """A trial's checkpoints on disk. last, best: bytes, 0 for a file that does not exist."""

    trial: int
    outcome: Outcome | None
    value: float | None = None
    last: int = 0
    best: int = 0
    feasible: bool = True

    def entry(self) -> Entry:
        """What decides its place in the ranking."""
        return Entry(self.trial, self.outcome, self.value, feasible=self.feasible)

    def size(self, name: str) -> int:
        """The bytes of one of its two files."""
        return self.last if name == LAST_STATE else self.best


@dataclass(frozen=True)
class Removal:
    """One file to remove."""

    trial: int
    name: str
    bytes: int


def to_remove(
    kept: Iterable[Kept], budget: int, *, direction: Direction, keep: Collection[int]
) -> list[Removal]:
    """The files to remove, in order, so that all others together take at most `budget` bytes.

    1. States (`last.ckpt`) of trials that are over and did not fail, first those that were cut short.
    2. Weights (`best.ckpt`) of trials that were cut short, in the reverse of the ranking; those that are
       not ranked go first.
    3. Weights of finished trials, likewise.
    4. Both files of failed trials, oldest first: `--retry-failed` would continue from them.

    keep: trials that keep their weights. Trials that run, or were interrupted, keep both files. If all
    of this is not enough, all of it is removed.
    """
    kept = list(kept)
    excess = sum(each.last + each.best for each in kept) - budget
    found: list[Removal] = []
    for each, name in _in_order(kept, direction, keep):
        if excess <= 0:
            break
        if (size := each.size(name)) > 0:
            found.append(Removal(each.trial, name, size))
            excess -= size
    return found


def _in_order(kept: list[Kept], direction: Direction, keep: Collection[int]) -> Iterable[tuple[Kept, str]]:
    ordered = sorted(kept, key=lambda each: each.trial)
    cut, out, failed = (
        [each for each in ordered if each.outcome in outcomes]
        for outcomes in (_CUT_SHORT, RAN_TO_END, {Outcome.FAILED})
    )
    yield from ((each, LAST_STATE) for each in (*cut, *out))
    for group in (cut, out):
        ranked = _ranked(group, direction)
        numbers = {each.trial for each in ranked}
        worst_first = [*(each for each in group if each.trial not in numbers), *reversed(ranked)]
        yield from ((each, BEST_WEIGHTS) for each in worst_first if each.trial not in keep)
    for each in failed:
        yield each, LAST_STATE
        if each.trial not in keep:
            yield each, BEST_WEIGHTS


def best_trials(kept: Iterable[Kept], count: int, direction: Direction) -> frozenset[int]:
    """The best `count` trials: finished ones come before any that was cut short."""
    return frozenset(each.trial for each in _ranked(kept, direction, count))


def _ranked(kept: Iterable[Kept], direction: Direction, most: int | None = None) -> list[Kept]:
    return best_first(kept, Kept.entry, FINISHED_THEN_STOPPED, direction, most)


class Budget:
    """Keeps an experiment's budget while its driver runs; does nothing if the file sets no budget."""

    def __init__(
        self,
        experiment: Experiment,
        folder: Path,
        recorder: Recorder,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        given = experiment.checkpoints
        self._limit = None if given.budget_gb is None else int(given.budget_gb * GB)
        self._keep = given.keep_best
        self._experiment = experiment
        self._direction = experiment.workload.direction
        self._root = checkpoint_root(experiment, folder)
        stored = isinstance(self._root, StorePath)
        self._every_s, self._at_once = AT_STORE if stored else (POLL_INTERVAL_S, AT_ONCE)
        self._recorder = recorder
        self._clock = clock
        self._next_check, self._wait_s = float("-inf"), self._every_s
        self._known = 0
        self._moving: dict[int, float | None] = {}
        """Trials whose files may change: when each was seen to have ended, None while it runs."""
        self._kept: dict[int, Kept] = {}
        self._total = 0
        self._told: set[str] = set()

    def begin(self) -> None:
        """Read the files that an earlier driver left. Raises StorageError if a store does not answer."""
        trials = self._recorder.history.trials
        if self._limit is None or not trials:
            return
        self._known = len(trials)
        over = [n for n, trial in trials.items() if trial.over]
        self._moving = dict.fromkeys(set(trials) - set(over))
        if isinstance(self._root, StorePath):
            there = (self._root / "trials").files()
            for number in over:
                folder = f"{number:04d}/"
                self._note(number, there.get(folder + LAST_STATE, 0), there.get(folder + BEST_WEIGHTS, 0))
        else:
            self._measure([n for n in over if trials[n].outcome is not Outcome.REUSED])

    def check(self) -> None:
        """Enforce the budget if it is time. Called in each round of the driver's loop."""
        now = self._clock()
        if self._limit is None or now < self._next_check:
            return
        whole = self._enforce(now, SETTLES_AFTER_S, self._at_once)
        self._wait_s = self._every_s if whole else min(2 * self._wait_s, BACK_OFF_S)
        self._next_check = self._clock() + self._wait_s  # later: a store may take long to fail

    def finish(self) -> None:
        """Enforce the budget now: all trials have ended, and their workers write no more."""
        if self._limit is not None:
            self._enforce(self._clock(), 0.0, None)

    def _enforce(self, now: float, settles_s: float, at_once: int | None) -> bool:
        """Whether it succeeded. If a file cannot be read or removed, no other is removed in its place."""
        assert self._limit is not None
        try:
            self._follow(now, settles_s)
        except StorageError:
            return False  # a store does not answer for a while, which workers report
        if self._total <= self._limit:
            return True
        still = [k for k in self._kept.values() if k.trial not in self._moving]
        fixed = self._total - sum(k.last + k.best for k in still)
        keep = best_trials(self._kept.values(), self._keep, self._direction)
        keep |= finalists(self._experiment, self._recorder.history)  # are to be scored with their weights
        removals = to_remove(still, self._limit - fixed, direction=self._direction, keep=keep)
        by_trial: dict[int, list[Removal]] = {}
        for removal in removals:
            by_trial.setdefault(removal.trial, []).append(removal)
        now_going = list(by_trial)[:at_once]
        for number in now_going:
            if not self._remove(number, by_trial[number]):
                return False
        more = len(now_going) < len(by_trial) or (settles_s > 0 and self._settling())
        if self._total > self._limit and not more:
            self._tell("kept", "what is left belongs to trials that run, and to the best ones")
        return True

    def _follow(self, now: float, settles_s: float) -> None:
        """Read the sizes of the files that may have changed since the last check."""
        trials = self._recorder.history.trials
        for number in islice(trials, self._known, None):
            if trials[number].outcome is not Outcome.REUSED:
                self._moving[number] = None
        self._known = len(trials)
        for number, since in self._moving.items():
            if since is None and trials[number].over:
                self._moving[number] = now
        self._measure(list(self._moving))
        ended = {n: since for n, since in self._moving.items() if since is not None}
        for number in [n for n, since in ended.items() if now - since >= settles_s]:
            del self._moving[number]

    def _settling(self) -> bool:
        return any(since is not None for since in self._moving.values())

    def _measure(self, numbers: list[int]) -> None:
        names = (LAST_STATE, BEST_WEIGHTS)
        found = sizes([self._file(number, name) for number in numbers for name in names])
        for at, number in enumerate(numbers):
            self._note(number, *found[2 * at : 2 * at + 2])

    def _note(self, number: int, last: int, best: int) -> None:
        trial = self._recorder.history.trials[number]
        before = self._kept.get(number)
        self._total += last + best - (0 if before is None else before.last + before.best)
        self._kept[number] = Kept(number, trial.outcome, trial.value, last, best, feasible=trial.feasible)

    def _remove(self, number: int, removals: list[Removal]) -> bool:
        """Whether the files are removed. One that an earlier check failed to remove is recorded already."""
        recorded = self._recorder.history.trials[number].removed
        if new := [each for each in removals if each.name not in recorded]:
            names, size = [each.name for each in new], sum(each.bytes for each in new)
            self._recorder.record(RemovedRecord(trial=number, files=names, bytes=size))
        else:
            self._recorder.require_ours()  # the trial may have started again under another driver
        for each in removals:
            try:
                self._file(number, each.name).unlink(missing_ok=True)
            except (OSError, StorageError) as error:
                self._tell("stuck", f"{self._file(number, each.name)} cannot be removed just now: {error}")
                return False
            kept, self._total = self._kept[number], self._total - each.bytes
            self._kept[number] = replace(kept, last=0) if each.name == LAST_STATE else replace(kept, best=0)
        if self._kept[number].last + self._kept[number].best == 0:
            del self._kept[number]  # so that what is sorted does not grow with trials
        return True

    def _file(self, number: int, name: str) -> Place:
        return trial_folder(self._root, number) / name

    def _tell(self, what: str, reason: str) -> None:
        if what not in self._told:
            self._told.add(what)
            self._recorder.record(OverBudgetRecord(bytes=self._total, reason=reason))
