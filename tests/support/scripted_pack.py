"""A pack that replays curves without training, and a stand-in for Ray Tune that drives it in one process."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from places import Places
from pydantic import ValidationError
from ray import tune
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher
from ray.tune.utils import flatten_dict
from scripted import Scripted, experiment, wait_until_taken

from trainables.specs.job import TrialResult
from trainables.specs.pack import Packing, PackJob, PackOrders, PackResult, WhyLanes
from trainables.specs.workload import Direction
from tuning.experiment.spec import Experiment
from tuning.ledger.history import History
from tuning.ledger.ledger import Ledger
from tuning.ledger.outcomes import Outcome
from tuning.ledger.recorder import Recorder
from tuning.ledger.records import EndedRecord, ExperimentRecord, Record, ReportRecord, StartedRecord
from tuning.run.composition import Composition
from tuning.run.control import Control
from tuning.run.packs.limits import limits_of
from tuning.run.packs.pack_scheduler import PackScheduler
from tuning.run.packs.pack_searcher import PackSearcher
from tuning.run.packs.packs import Packs
from tuning.run.proposed_jobs import ConfigurePacks
from tuning.run.reconcile import follow
from tuning.run.results import Results
from tuning.run.steering.build_inbox import build_inbox
from tuning.run.stopping.exploits import Exploits
from tuning.run.stopping.resting import resting_of
from tuning.run.stopping.search_end import SearchEnd
from tuning.run.stopping.sweep_rule import build_sweep_rule
from tuning.scheduling.rule import PopulationRule
from tuning.search.study import Study

STEPS = 10
"""The steps between two reports of a scripted trial."""


class ScriptedPack(tune.Trainable):
    """Trials of `trial_class` that take their steps together; the one furthest back goes first."""

    takes_packs = True
    trial_class: type[Scripted] = Scripted
    room = 4
    """How many trials it takes, if it decides that itself."""

    def setup(self, config: dict[str, Any]) -> None:
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.job: PackJob = new_config["job"]
        self.slots: dict[int, tuple[Scripted, int]] = {}
        self.read = self.clock = 0
        self.begun = False
        return True

    def step(self) -> dict[str, Any]:
        self._obey()
        results: list[TrialResult] = []
        if self.begun and self.slots:
            back = min(clock for _, clock in self.slots.values())
            for number, (trial, clock) in sorted(self.slots.items()):
                if clock == back:
                    result = TrialResult.model_validate(trial.step())
                    self.slots[number] = (trial, clock + STEPS)
                    results.append(result)
                    if result.done:
                        del self.slots[number]
            self.clock = back + STEPS
        self.begun = True
        return PackResult(
            trial=self.job.trial,
            results=results,
            room=self.job.lanes or self.room,
            read=self.read,
            clock=self.clock,
        ).for_ray()

    def _obey(self) -> None:
        found = PackOrders()
        with suppress(OSError, ValidationError):
            found = PackOrders.model_validate_json(self.job.orders.read_bytes())
        for order in found.orders:
            if order.number <= self.read:
                continue
            if (entry := order.start) is not None:
                trial = self.trial_class.__new__(self.trial_class)
                trial.setup(self.job.job_of(entry).for_ray())
                self.slots[entry.trial] = (trial, self.clock if entry.joined is None else entry.joined)
            if order.leave is not None:
                self.slots.pop(order.leave, None)
            self.read = order.number


class Decides(ScriptedPack):
    """Says how many trials it takes unless that was decided before."""

    lanes = 2

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        super().reset_config(new_config)
        decided = self.job.decided
        self.room = decided[0].lanes if decided else self.lanes
        self.news = [] if decided else [Packing(group="g", lanes=self.lanes, why=WhyLanes.MEMORY)]
        return True

    def step(self) -> dict[str, Any]:
        found = super().step()
        found["packing"] = [each.model_dump() for each in self.news]
        self.news = []
        return found


class WithMoreMemory(Decides):
    """On a machine where more trials fit."""

    lanes = 3


class SlowPack(ScriptedPack):
    """Takes a moment for each step, so that a sweep can be disturbed, and none while a request waits."""

    def step(self) -> dict[str, Any]:
        time.sleep(0.05)
        wait_until_taken(self.job.experiment)
        return super().step()


@dataclass
class FakeTrial:
    """The attributes of Ray's trial that a scheduler reads, and its actor."""

    trial_id: str
    config: dict[str, Any]
    actor: Any
    error_file = pickled_error_file = None
    last_result: dict[str, Any] | None = None


class FakeTune:
    """Drives packs like Ray Tune, in this process, with a real study, ledger, rule, searcher and scheduler.

    places: how many packs fit.  draw: which pack returns next.  The experiment's folder is `folder`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        places: int = 1,
        pack: type[Any] = ScriptedPack,
        seed: int = 0,
        retries: int = 0,
        **parts: Any,
    ) -> None:
        self.experiment: Experiment = experiment(**{"resources": {"packing": 3}} | parts)
        given = self.experiment
        header = ExperimentRecord(name="sweep", file="", experiment={})
        self.folder, self.pack, self.places = folder, pack, places
        self.draw = random.Random(seed)
        self.events: list[Record] = []
        self.recorder = Recorder(Ledger.create(folder, header), History(header), self.events.append)
        self.rule = rule = build_sweep_rule(given, self.recorder)
        self.recorder.listen(lambda record: follow(record, rule))
        resting = resting_of(rule, self.recorder)
        self.study = Study(
            given.space,
            given.search,
            name="sweep",
            direction=Direction.MAXIMIZE,
            trials=given.search.trials,
            resting=resting,
            paused=lambda: self.recorder.history.paused,
            end=SearchEnd(given, self.recorder),
        )
        limits = limits_of(given.resources, given.search, given.scheduler, trials=given.trials_expected)
        assert limits is not None
        of = Composition(given, folder, self.recorder)
        if resting is not None and isinstance(rule, PopulationRule):
            resting.first = Exploits(of, rule, self.study).carry_out
        self.packs = Packs(
            self.study,
            self.recorder,
            configure=ConfigurePacks(of, folder, limits.lanes),
            places=Places(lambda: self.places),
            limits=limits,
            folder=folder,
        )
        self.now = 0.0
        control = Control(folder, clock=lambda: self.now)
        self.scheduler = PackScheduler(
            Results(rule, self.recorder, self.study),
            self.packs,
            control,
            retries=retries,
            each_round=build_inbox(of, self.study).take,
        )
        self.searcher = PackSearcher(self.packs)
        self.running: list[FakeTrial] = []
        self.finished = False
        self._ids = 0
        self._tune_controller = self  # Ray hands the scheduler a wrapper
        self._stopped_trials = self._failed_trials = frozenset[Any]()

    def checkpoint(self, force: bool = False, wait: bool = False) -> None:
        """Ray's snapshot."""

    def open(self) -> None:
        """Start packs as long as the searcher gives some."""
        while not self.finished:
            config = self.searcher.suggest(str(self._ids))
            if config is None:
                return
            if config == Searcher.FINISHED:
                self.finished = True
                return
            assert isinstance(config, dict)
            actor = self.pack.__new__(self.pack)
            actor.setup(config)
            self.running.append(FakeTrial(str(self._ids), config, actor))
            self._ids += 1

    def turn(self) -> bool:
        """A round of Ray's loop: one pack returns from its step. Returns whether any is left."""
        self.now += 1.0
        self.scheduler.choose_trial_to_run(self)
        self.open()
        if not self.running:
            return False
        trial = self.draw.choice(self.running)
        trial.last_result = trial.actor.step()
        flat = flatten_dict(trial.last_result)
        if flat["done"] or self.scheduler.on_trial_result(self, trial, flat) == TrialScheduler.STOP:
            self.scheduler.on_trial_complete(self, trial, flat)
            self.searcher.on_trial_complete(trial.trial_id)
            self.running.remove(trial)
        return True

    def run(self, until: Callable[[], bool] = lambda: False) -> None:
        """Turn until nothing is left, or `until` is true."""
        for _ in range(2000):
            if until() or not self.turn():
                return
        raise AssertionError("it does not come to an end")

    def kill(self, pack: int) -> None:
        """End a pack without warning."""
        (trial,) = (t for t in self.running if t.config["trial"] == pack)
        self.running.remove(trial)
        self.scheduler.on_trial_error(self, trial)
        self.searcher.on_trial_complete(trial.trial_id, error=True)

    @property
    def sizes(self) -> list[int]:
        """How many trials each running pack has been given."""
        return [len(self.packs.members(t.config["trial"])) for t in self.running]


def outcomes(tune: FakeTune) -> dict[int, Outcome | None]:
    return {number: trial.outcome for number, trial in tune.recorder.history.trials.items()}


def at_once(events: list[Record]) -> int:
    now, most = set(), 0
    for record in events:
        if isinstance(record, StartedRecord):
            now.add(record.trial)
        if isinstance(record, EndedRecord):
            now.discard(record.trial)
        most = max(most, len(now))
    return most


def started(tune: FakeTune) -> list[int]:
    return [record.trial for record in tune.events if isinstance(record, StartedRecord)]


def turn_until_reports(tune: FakeTune, number: int) -> None:
    tune.run(until=lambda: sum(isinstance(r, ReportRecord) for r in tune.events) >= number)
