from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState
from ray.tune.schedulers import TrialScheduler
from ray.tune.utils import flatten_dict
from scripted import experiment

from trainables.errors import ClusterError
from trainables.run_folder import BASELINE_CLAIM, CONTROL
from trainables.specs.workload import Direction
from tuning.experiment.sections.scheduler import AshaSpec, SchedulerSpec
from tuning.ledger.history import History
from tuning.ledger.ledger import Ledger, read_records
from tuning.ledger.outcomes import Ending, Outcome, StoppedBy
from tuning.ledger.recorder import Halt, Recorder
from tuning.ledger.records import BaselineRecord, ExperimentRecord, Record
from tuning.run.control import Control
from tuning.run.ray_scheduler import RecordingScheduler
from tuning.run.results import Results, nested_part
from tuning.scheduling.registry import build_rule
from tuning.scheduling.rule import CONTINUE, Decision
from tuning.search.proposal import Proposal
from tuning.search.study import Study

ASHA = SchedulerSpec(asha=AshaSpec(grace_epochs=1.0, reduction_factor=3.0))
HEADER = ExperimentRecord(name="sweep", file="", experiment={})


class FakeTrial:
    """The attributes of Ray's trial that the scheduler reads."""

    error_file = pickled_error_file = None

    def __init__(self, number: int) -> None:
        self.config = {"trial": number}
        self.trial_id = str(number)

    def init_local_path(self) -> None:
        """Ray's folder for it."""


class FakeController:
    def __init__(self, scheduler: RecordingScheduler, trials: list[FakeTrial]) -> None:
        self.scheduler, self.trials, self.stopped = scheduler, trials, []
        self._tune_controller = self  # Ray hands the scheduler a wrapper
        self._stopped_trials = self._failed_trials = frozenset[Any]()
        self.snapshots: list[tuple[bool, bool]] = []

    def checkpoint(self, force: bool = False, wait: bool = False) -> None:
        self.snapshots.append((force, wait))

    def get_live_trials(self) -> list[FakeTrial]:
        return self.trials

    def stop_trial(self, trial: FakeTrial) -> None:
        self.stopped.append(trial.config["trial"])
        self.scheduler.on_trial_complete(self, trial, {})


class Bench:
    """A recording scheduler over a real study and ledger, with `count` trials started."""

    def __init__(self, folder: Path, spec: SchedulerSpec = ASHA, count: int = 4, retries: int = 0) -> None:
        self.events: list[tuple[Record, int]] = []
        self.folder = folder
        self.now = 0.0
        self.lost = False
        given = experiment(search={"trials": count})
        self.ledger = Ledger.create(folder, HEADER)
        self.recorder = Recorder(self.ledger, History(HEADER), self._heard)
        self.study = Study(
            given.space, given.search, name="sweep", direction=Direction.MAXIMIZE, trials=count
        )
        rule = build_rule(spec, Direction.MAXIMIZE, max_epochs=9)
        control = Control(folder, clock=lambda: self.now, lost=lambda: self.lost)
        self.results = Results(rule, self.recorder, self.study)
        self.scheduler = RecordingScheduler(self.results, self.recorder, self.study, control, retries=retries)
        self.trials = [FakeTrial(n) for n in range(count)]
        self.controller = FakeController(self.scheduler, self.trials)
        for trial in self.trials:
            proposal = self.study.propose()
            assert isinstance(proposal, Proposal)
            self.recorder.record(proposal.started())
            self.scheduler.on_trial_add(self.controller, trial)

    def _heard(self, record: Record) -> None:
        self.events.append((record, len(list(read_records(self.folder)))))

    def report(self, number: int, epoch: float, objective: float, **changes: Any) -> str | None:
        """Report like Ray: flattened; the report of a done trial goes to `on_trial_complete`."""
        report = {"step": int(epoch * 10), "metrics": {"map": objective, "map/3": 0.5}, "train_s": 1.0}
        result = {
            "trial": number, "epoch": epoch, "objective": objective, "report": report, "built": None,
            "baseline": None, "failure": None, "done": False, "trial_id": str(number),
        } | changes  # fmt: skip
        flat = flatten_dict(result)
        if result["done"]:
            self.scheduler.on_trial_complete(self.controller, self.trials[number], flat)
            return None
        decision: str = self.scheduler.on_trial_result(self.controller, self.trials[number], flat)
        if decision == TrialScheduler.STOP:
            self.scheduler.on_trial_complete(self.controller, self.trials[number], flat)
        return decision

    def outcome(self, number: int) -> Outcome | None:
        return self.recorder.trial(number).outcome

    def told(self, number: int) -> Any:
        return self.study.optuna.trials[number]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "sweep")


def test_report_and_decision_are_recorded_before_the_decision_acts(bench: Bench) -> None:
    assert bench.report(0, 1, 0.9) == TrialScheduler.CONTINUE
    assert bench.report(1, 1, 0.5) == TrialScheduler.STOP
    kinds = [r.kind for r in read_records(bench.folder)][-4:]
    assert kinds == ["report", "report", "stopped", "ended"]
    stopped = bench.recorder.trial(1).stopped
    assert stopped is not None
    assert (stopped.by, stopped.epoch) == (StoppedBy.ASHA, 1.0)


def test_a_listener_hears_of_a_record_that_is_already_in_the_file(bench: Bench) -> None:
    bench.report(0, 1, 0.9)
    for position, (_, lines) in enumerate(bench.events):
        assert lines == position + 2  # the header, and itself


def test_a_trial_that_asha_stops_is_pruned_in_the_study_with_its_last_report(bench: Bench) -> None:
    bench.report(0, 1, 0.9)
    bench.report(1, 1, 0.5)
    assert bench.outcome(1) is Outcome.PRUNED
    assert (bench.told(1).state, bench.told(1).value) == (TrialState.PRUNED, 0.5)
    assert bench.told(1).intermediate_values == {1000: 0.5}


def test_a_done_trials_last_report_is_recorded_and_told(bench: Bench) -> None:
    bench.report(0, 1, 0.9)
    bench.report(0, 9, 0.95, done=True)
    trial = bench.recorder.trial(0)
    assert [r.epoch for r in trial.reports] == [1, 9]
    assert (trial.outcome, trial.value, trial.epoch) == (Outcome.COMPLETED, 0.95, 9)
    assert (bench.told(0).state, bench.told(0).value) == (TrialState.COMPLETE, 0.95)


def test_a_trials_own_early_stop_is_told_as_complete(bench: Bench) -> None:
    bench.report(0, 4, 0.9, done=True, report={"step": 40, "metrics": {}, "outcome": "early_stopped"})
    assert bench.outcome(0) is Outcome.EARLY_STOPPED
    assert bench.told(0).state is TrialState.COMPLETE


@pytest.mark.parametrize("done", [True, False])
@pytest.mark.parametrize("outcome", [Outcome.DIVERGED, Outcome.FAILED])
def test_a_failure_in_the_result_is_an_outcome_with_a_reason(
    bench: Bench, outcome: Outcome, done: bool
) -> None:
    failure = {"outcome": outcome.value, "reason": "out of memory"}
    bench.report(0, 1, math.nan, report=None, failure=failure, done=done)
    ended = bench.recorder.trial(0).ended
    assert ended is not None
    assert (ended.outcome, ended.reason, ended.value) == (outcome, "out of memory", None)
    assert bench.told(0).state is TrialState.FAIL
    assert bench.told(0).user_attrs["reason"] == "out of memory"
    assert bench.recorder.trial(0).reports == ()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_an_objective_that_is_not_finite_has_diverged(bench: Bench, value: float) -> None:
    bench.report(0, 1, 0.9)
    assert bench.report(0, 2, value) == TrialScheduler.STOP
    assert bench.outcome(0) is Outcome.DIVERGED
    assert bench.told(0).state is TrialState.FAIL
    assert bench.report(1, 1, 0.8) == TrialScheduler.STOP  # below 0.9: the rung holds no NaN


class Stopless:
    """A rule that records the objectives that it gets, and stops no trial."""

    by = StoppedBy.MEDIAN

    def __init__(self) -> None:
        self.objectives: list[float] = []

    def decide(self, number: int, epoch: float, objective: float) -> Decision:
        self.objectives.append(objective)
        return CONTINUE

    def finish(self, number: int, epoch: float, objective: float) -> None:
        self.objectives.append(objective)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_no_rule_sees_an_objective_that_is_not_finite(bench: Bench, value: float) -> None:
    rule = bench.results.rule = Stopless()
    assert bench.report(0, 1, 0.9) == TrialScheduler.CONTINUE
    bench.report(0, 2, value)
    bench.report(1, 9, value, done=True)
    bench.report(2, 9, 0.8, done=True)
    assert rule.objectives == [0.9, 0.8]


def test_built_and_baseline_are_recorded_once(bench: Bench) -> None:
    built = {"adapter": 10, "head": 5, "backbone": 0, "total": 100}
    bench.report(0, 1, 0.9, built=built, baseline={"map": 0.1, "map/3": 0.2})
    bench.report(1, 1, 0.95, built=built, baseline={"map": 0.3})
    assert bench.recorder.trial(0).parameters == bench.recorder.trial(1).parameters == built
    assert bench.recorder.history.baseline is not None
    assert bench.recorder.history.baseline.metrics == {"map": 0.1, "map/3": 0.2}
    assert bench.recorder.trial(0).reports[0].metrics == {"map": 0.9, "map/3": 0.5}


def test_a_dead_worker_fails_its_trial(bench: Bench) -> None:
    bench.scheduler.on_trial_error(bench.controller, bench.trials[0])
    ended = bench.recorder.trial(0).ended
    assert ended is not None
    assert (ended.outcome, ended.reason) == (Outcome.FAILED, "its worker process died")
    assert bench.told(0).state is TrialState.FAIL


def test_a_trial_that_may_be_tried_again_is_proposed_again(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "sweep", retries=1)
    bench.report(0, 1, 0.9)
    bench.scheduler.on_trial_error(bench.controller, bench.trials[0])
    assert bench.outcome(0) is None
    again = bench.study.propose()
    assert isinstance(again, Proposal)
    assert (again.number, again.again) == (0, True)
    bench.report(0, 1, 0.9)
    bench.report(0, 9, 0.95, done=True)
    assert [r.epoch for r in bench.recorder.trial(0).reports] == [1, 9]
    assert bench.told(0).state is TrialState.COMPLETE


def test_the_baseline_that_a_dead_worker_was_measuring_is_measured_by_another_one(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "sweep", retries=1)
    claim = tmp_path / "sweep" / BASELINE_CLAIM
    claim.write_text("1")
    bench.scheduler.on_trial_error(bench.controller, bench.trials[0])
    assert claim.exists()
    bench.scheduler.on_trial_error(bench.controller, bench.trials[1])
    assert not claim.exists()
    claim.write_text("2")
    bench.recorder.record(BaselineRecord(metrics={"map": 0.1}))
    bench.scheduler.on_trial_error(bench.controller, bench.trials[2])
    assert claim.exists()


def test_one_that_dies_too_often_fails(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "sweep", retries=2)
    for _ in range(2):
        bench.scheduler.on_trial_error(bench.controller, bench.trials[1])
        assert bench.outcome(1) is None
    bench.scheduler.on_trial_error(bench.controller, bench.trials[1])
    bench.scheduler.on_trial_error(bench.controller, bench.trials[1])  # Ray may report it twice
    assert bench.outcome(1) is Outcome.FAILED
    assert bench.outcome(0) is None


def test_no_trial_is_blamed_for_the_death_of_ray(bench: Bench) -> None:
    bench.lost = True
    with pytest.raises(Halt) as halt:
        bench.scheduler.on_trial_error(bench.controller, bench.trials[0])
    assert isinstance(halt.value.error, ClusterError)
    assert bench.outcome(0) is None
    bench.now += 1
    with pytest.raises(Halt):
        bench.scheduler.choose_trial_to_run(bench.controller)


def test_no_trial_is_blamed_for_a_node_that_can_run_none(bench: Bench) -> None:
    failure = {"outcome": "failed", "reason": "node n7 does not see /shared/sweep", "unfit": True}
    with pytest.raises(Halt) as caught:
        bench.report(1, 0.0, math.nan, failure=failure, done=True)
    assert caught.value.ending is Ending.FAILED
    assert isinstance(caught.value.error, ClusterError)
    for part in ("n7", "/shared/sweep", "adaptertune resume"):
        assert part in str(caught.value.error)
    assert bench.outcome(1) is None


def test_without_a_rule_every_trial_runs_to_its_end(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "sweep", SchedulerSpec())
    assert [bench.report(n, e, 1.0 / (n + 1)) for n in range(4) for e in range(1, 9)] == ["CONTINUE"] * 32


# --- stopping by the user ---------------------------------------------------------------------


def test_the_user_stops_one_trial(bench: Bench) -> None:
    bench.report(2, 1, 0.7)
    (bench.folder / CONTROL).mkdir()
    (bench.folder / CONTROL / "stop-2").touch()
    bench.scheduler.choose_trial_to_run(bench.controller)
    assert bench.controller.stopped == [2]
    assert bench.outcome(2) is Outcome.STOPPED
    stopped = bench.recorder.trial(2).stopped
    assert stopped is not None
    assert stopped.by is StoppedBy.USER
    assert (bench.told(2).state, bench.told(2).value) == (TrialState.PRUNED, 0.7)
    assert [path.name for path in (bench.folder / CONTROL).iterdir()] == ["stopped.2"]  # for its worker
    bench.now += 1.0
    bench.scheduler.choose_trial_to_run(bench.controller)
    assert bench.controller.stopped == [2]


def test_the_user_stops_the_sweep(bench: Bench) -> None:
    (bench.folder / CONTROL).mkdir()
    (bench.folder / CONTROL / "stop").touch()
    with pytest.raises(Halt) as halted:
        bench.scheduler.choose_trial_to_run(bench.controller)
    assert halted.value.ending is Ending.INTERRUPTED


def test_a_request_to_stop_an_unknown_trial_stops_nothing(bench: Bench) -> None:
    (bench.folder / CONTROL).mkdir()
    (bench.folder / CONTROL / "stop-99").touch()
    bench.scheduler.choose_trial_to_run(bench.controller)
    assert bench.controller.stopped == []


# --- Ray's own ----------------------------------------------------------------------------------


def test_a_section_is_found_flat_and_nested() -> None:
    nested = {"report": {"metrics": {"map": 1.0, "map/3": 0.5}, "step": 3}, "built": None}
    assert nested_part(nested, "report")["step"] == 3
    flat = flatten_dict(nested)
    assert nested_part(nested_part(flat, "report"), "metrics") == {"map": 1.0, "map/3": 0.5}
    assert nested_part(flat, "built") == {}


def test_ray_writes_a_single_snapshot(tmp_path: Path) -> None:
    """Ray's last snapshot, of all trials, would be forced."""
    bench = Bench(tmp_path)
    bench.scheduler.choose_trial_to_run(bench.controller)
    for force in (False, False, True):
        bench.controller.checkpoint(force=force, wait=force)
        bench.scheduler.choose_trial_to_run(bench.controller)
    assert bench.controller.snapshots == [(True, True)]
