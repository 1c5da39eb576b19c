"""The contract of every stopping rule that an experiment file may name."""

from __future__ import annotations

import inspect
import json
import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from object_state import state_of
from rough_sweeps import Curve, memory_of, rough_curves, sweep_of

from trainables.specs.definitions import Definitions
from trainables.specs.workload import Direction
from tuning.experiment.goals import Goal, Goals
from tuning.experiment.sections.objectives import BoundSpec
from tuning.experiment.sections.scheduler import SchedulerSpec
from tuning.ledger.history import History
from tuning.ledger.outcomes import Outcome, StoppedBy
from tuning.ledger.records import (
    EndedRecord,
    ExperimentRecord,
    Record,
    ReportRecord,
    StartedRecord,
    StoppedRecord,
)
from tuning.run.reconcile import EndTrial, RestTrial, reconcile, replay
from tuning.scheduling.context import AS_RAY, STRICT_AGAIN, RuleContext
from tuning.scheduling.registry import RULES, build_rule
from tuning.scheduling.rule import Continue, Decision, ObservingRule, Rest, RestingRule, Stop, StoppingRule

EPOCHS = 9.0


@dataclass(frozen=True)
class Variant:
    """A rule with settings, or of an earlier version.

    ceiling: the epoch at which the rule stops even the best trial.  goals: what is weighed.
    """

    key: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    version: int = Definitions().stopping
    ceiling: float = math.inf
    goals: Callable[[Direction], Goals] | None = None


def quality_and_memory(direction: Direction) -> Goals:
    """The objective of the curves, and a cost that every report has."""
    return Goals((Goal("dice", direction), Goal("peak_mb", Direction.MINIMIZE)))


def within_memory(direction: Direction) -> Goals:
    """The same, with a bound that a third of the trials break."""
    bound = {"peak_mb": BoundSpec(at_most=101.5)}
    return Goals(quality_and_memory(direction).objectives, bound)


VARIANTS = {
    "asha": Variant("asha"),
    "asha threshold": Variant("asha", {"rule": "threshold"}),
    "asha before": Variant("asha", {"rule": "threshold"}, version=AS_RAY),
    "asha rank before": Variant("asha", {"rule": "rank"}, version=STRICT_AGAIN),
    "asha rank of two": Variant("asha", {"rule": "rank", "reduction_factor": 2.0}),
    "asha rest": Variant("asha", {"rule": "rank", "rest": True}),
    "asha rest within": Variant("asha", {"rule": "rank", "rest": True, "within": ["freezing"]}),
    "asha within": Variant("asha", {"rule": "rank", "within": ["freezing"]}),
    "asha threshold within": Variant("asha", {"rule": "threshold", "within": ["freezing", "adapter"]}),
    "median": Variant("median"),
    "median before": Variant("median", version=AS_RAY),
    "hyperband": Variant("hyperband"),
    "hyperband of two": Variant("hyperband", {"reduction_factor": 2.0, "brackets": 2}),
    "pasha": Variant("pasha", ceiling=3.0),
    "dominance": Variant("dominance"),
    "dominance before": Variant("dominance", version=STRICT_AGAIN),
    "dominance of two": Variant("dominance", {"reduction_factor": 9.0}, goals=quality_and_memory),
    "dominance within bounds": Variant("dominance", {"reduction_factor": 6.0}, goals=within_memory),
}
"""Every rule with its defaults, and those settings that change how it decides."""
EVERY_RULE = pytest.mark.parametrize("name", VARIANTS)
EVERY_DIRECTION = pytest.mark.parametrize("direction", Direction)


def params_of(number: int) -> Mapping[str, Any]:
    """Parameters of every trial below."""
    return {"freezing": ("frozen", "unfrozen")[number % 2], "adapter": "lora"}


def rule_of(name: str, direction: Direction = Direction.MAXIMIZE, *, epochs: float = EPOCHS) -> StoppingRule:
    """A new rule, as the driver builds it."""
    variant = VARIANTS[name]
    spec = SchedulerSpec.model_validate_json(json.dumps({variant.key: variant.settings}))
    goals = None if variant.goals is None else variant.goals(direction)
    context = RuleContext(seed=3, version=variant.version, params_of=params_of, goals=goals)
    rule = build_rule(spec, direction, max_epochs=epochs, context=context)
    assert rule is not None
    return rule


# --- the set of rules -------------------------------------------------------------------------


def test_the_file_offers_exactly_the_rules_that_can_be_built() -> None:
    sections = {name: get_args(field.annotation)[0] for name, field in SchedulerSpec.model_fields.items()}
    assert sections
    built = {name: inspect.signature(build, eval_str=True) for name, build in RULES.items()}
    assert {name: found.parameters["spec"].annotation for name, found in built.items()} == sections


def test_every_rule_is_in_the_suite_with_its_defaults() -> None:
    held = {v.key for v in VARIANTS.values() if v == Variant(v.key, ceiling=v.ceiling)}
    assert held | {"pbt"} == RULES.keys()  # whose trials replace others: `test_pbt`


def test_without_a_section_there_is_no_rule() -> None:
    assert build_rule(SchedulerSpec(), Direction.MAXIMIZE, max_epochs=EPOCHS) is None


@EVERY_RULE
def test_a_rule_has_its_key_in_the_ledger(name: str) -> None:
    assert rule_of(name).by is StoppedBy(VARIANTS[name].key)


# --- decisions --------------------------------------------------------------------------------

CURVES = [[(n * 7 % 11) / 11 + e / 20 for e in range(1, 9)] for n in range(11)]
Call = tuple[int, float, float]


def side_by_side(rule: StoppingRule, direction: Direction) -> Iterator[tuple[Call, Decision]]:
    """Each report of eleven trials that run side by side, and the decision; a stopped trial ends."""
    sign = 1 if direction is Direction.MAXIMIZE else -1
    running = dict.fromkeys(range(len(CURVES)), 0)
    rested: dict[int, int] = {}
    while running:
        for number in list(running):
            running[number] += 1
            call = (number, float(running[number]), sign * CURVES[number][running[number] - 1])
            show(rule, report(*call))
            decision = rule.decide(*call)
            yield call, decision
            if isinstance(decision, Rest):
                rested[number] = running[number]
            if running[number] == 8 or not isinstance(decision, Continue):
                del running[number]
            while (able := woken(rule, none_left=True)) is not None:
                running[able] = rested.pop(able)


def show(rule: StoppingRule, record: ReportRecord) -> None:
    """Show the rule a report, if it wants to see reports."""
    if isinstance(rule, ObservingRule):
        rule.observe(record)


def woken(rule: StoppingRule, *, none_left: bool) -> int | None:
    """The resting trial that continues, if any does."""
    able = rule.next_rested(none_left=none_left) if isinstance(rule, RestingRule) else None
    if able is None:
        return None
    assert isinstance(rule, RestingRule)
    rule.wake(able.number)
    return able.number


@EVERY_DIRECTION
@EVERY_RULE
def test_a_rule_stops_worse_trials_and_keeps_the_best(name: str, direction: Direction) -> None:
    decisions = list(side_by_side(rule_of(name, direction), direction))
    stopped = {number for (number, _, _), decision in decisions if decision == Stop()}
    assert all(isinstance(decision, Decision) for _, decision in decisions)
    best = max(range(11), key=lambda n: CURVES[n][-1])
    ended = [epoch for (number, epoch, _), decision in decisions if (number, decision) == (best, Stop())]
    assert all(epoch >= VARIANTS[name].ceiling for epoch in ended)
    assert 3 <= len(stopped) <= (10 if VARIANTS[name].ceiling == math.inf else 11)


@EVERY_DIRECTION
@EVERY_RULE
def test_the_same_reports_give_the_same_decisions_and_the_same_state(name: str, direction: Direction) -> None:
    first, second = rule_of(name, direction), rule_of(name, direction)
    for one, other in zip(side_by_side(first, direction), side_by_side(second, direction), strict=True):
        assert one == other
        assert state_of(first) == state_of(second)


def repeats_count_once(rule: StoppingRule) -> None:
    """After each report the trial returns to its checkpoint and reports again, now with bad values."""
    for (number, epoch, objective), decision in side_by_side(rule, Direction.MAXIMIZE):
        if isinstance(decision, Continue):
            before = state_of(rule)
            for again in (epoch, epoch - 1, epoch - 0.5):
                show(rule, report(number, again, objective - 100))
                assert rule.decide(number, again, objective - 100) == Continue()
            assert state_of(rule) == before


@EVERY_RULE
def test_a_report_that_comes_again_was_decided_before(name: str) -> None:
    repeats_count_once(rule_of(name))


def test_a_rule_that_counts_a_repeated_report_does_not_pass() -> None:
    class Counting:
        """Continues, and counts every report."""

        by, reports = StoppedBy.ASHA, 0

        def decide(self, number: int, epoch: float, objective: float) -> Decision:
            self.reports += 1
            return Continue()

        def finish(self, number: int, epoch: float, objective: float) -> None:
            pass

    with pytest.raises(AssertionError):
        repeats_count_once(Counting())


# --- a resumed driver -------------------------------------------------------------------------

HEADER = ExperimentRecord(name="a", file="", experiment={})


def history(records: Iterable[Record]) -> History:
    return History.of(HEADER, records)


def started(trial: int) -> StartedRecord:
    return StartedRecord(trial=trial, params={}, hash=f"h{trial}")


def report(trial: int, epoch: float, objective: float | None, outcome: Any = None) -> ReportRecord:
    return ReportRecord(
        trial=trial,
        epoch=epoch,
        step=round(epoch),
        objective=objective,
        peak_mb=memory_of(trial),
        outcome=outcome,
    )


def lived(name: str, direction: Direction, seed: int) -> list[Record]:
    """The ledger of 14 trials, three at a time, in random order."""
    draw = random.Random(seed)
    curves: list[Curve] = []
    for _ in range(14):
        height = draw.uniform(0.2, 0.9)
        curves.append([(e, height * (1 - 0.5**e) + draw.uniform(0, 0.05)) for e in range(1, int(EPOCHS) + 1)])
    return sweep_of(rule_of(name, direction), curves, epochs=EPOCHS, workers=3)


def take(rule: StoppingRule, record: Record) -> Decision | None:
    """Call the rule as the driver does when this is recorded."""
    if isinstance(record, StartedRecord) and isinstance(rule, RestingRule):
        rule.wake(record.trial)
    if not isinstance(record, ReportRecord) or record.objective is None:
        return None
    show(rule, record)
    if record.outcome is None:
        return rule.decide(record.trial, record.epoch, record.objective)
    rule.finish(record.trial, record.epoch, record.objective)
    return None


def decided(records: Sequence[Record], at: int) -> Decision | None:
    """What was decided about the report at this place."""
    record, after = records[at], records[at + 1] if at + 1 < len(records) else None
    if not isinstance(record, ReportRecord) or record.objective is None or record.outcome is not None:
        return None
    rests = isinstance(after, EndedRecord) and after.outcome is Outcome.RESTING
    return Stop() if isinstance(after, StoppedRecord) else Rest() if rests else Continue()


@EVERY_DIRECTION
@EVERY_RULE
def test_a_replayed_rule_decides_what_the_first_one_decided_wherever_it_was_cut_off(
    name: str, direction: Direction
) -> None:
    records = lived(name, direction, seed=5)
    decisions = [r for r in records if isinstance(r, StoppedRecord)]
    assert 3 <= len(decisions) < 14 + (VARIANTS[name].ceiling < math.inf)
    uninterrupted = rule_of(name, direction)
    for cut in range(len(records) + 1):
        rule = rule_of(name, direction)
        due = replay(records[:cut], rule)
        assert state_of(rule) == state_of(uninterrupted)
        known = history(records[:cut])
        resting = rule.resting if isinstance(rule, RestingRule) else ()
        asked = [a for a in reconcile(known, due, (), resting=resting) if getattr(a, "asked", False)]
        # A decision is due if the ledger was cut between the report and it.
        nearly = decided(records, cut - 1) if 0 < cut < len(records) else None
        trial = records[cut - 1].trial if isinstance(nearly, Stop | Rest) else None  # type: ignore[attr-defined]
        ends = EndTrial(trial, Outcome.PRUNED, asked=True) if isinstance(nearly, Stop) else None
        rests = RestTrial(trial, asked=True) if isinstance(nearly, Rest) else None
        assert asked == [action for action in (ends, rests) if action is not None]
        for at in range(cut, len(records)):
            assert take(rule, records[at]) == decided(records, at)
        if cut < len(records):
            take(uninterrupted, records[cut])


def replays_from_anywhere(
    name: str, direction: Direction, curves: Sequence[Curve], *, epochs: float, seed: int
) -> Counter[type[Record]]:
    """Cut a sweep at random points; returns how many records of each kind it has."""
    records = sweep_of(rule_of(name, direction, epochs=epochs), curves, epochs=epochs, workers=1 + seed % 5)
    for cut in sorted(random.Random(seed).sample(range(len(records)), 12)):
        rule = rule_of(name, direction, epochs=epochs)
        due = replay(records[:cut], rule)
        carried_out = {r.trial for r in records[:cut] if isinstance(r, StoppedRecord)}
        nearly = {records[cut].trial} if isinstance(records[cut], StoppedRecord) else set()  # type: ignore[attr-defined]
        assert due == carried_out | nearly
        for at in range(cut, len(records)):
            assert take(rule, records[at]) == decided(records, at)
    return Counter(type(record) for record in records)


@pytest.mark.parametrize("seed", range(3))
@EVERY_DIRECTION
@EVERY_RULE
def test_so_it_is_with_ties_skipped_rungs_divergence_and_early_ends(
    name: str, direction: Direction, seed: int
) -> None:
    curves = rough_curves(seed, epochs=EPOCHS)
    assert any(not math.isfinite(value) for curve in curves for _, value in curve)
    sign = 1 if direction is Direction.MAXIMIZE else -1
    signed = [[(epoch, sign * value) for epoch, value in curve] for curve in curves]
    found = replays_from_anywhere(name, direction, signed, epochs=EPOCHS, seed=seed)
    assert 10 <= found[StoppedRecord] < 60


CURVES_OF_TASKSET = Path(__file__).parents[3] / ".." / "shared" / "data" / "curves" / "taskset.npz"


@pytest.mark.skipif(not CURVES_OF_TASKSET.is_file(), reason="needs ../shared/data/curves")
@EVERY_DIRECTION
@EVERY_RULE
def test_so_it_is_on_recorded_curves(name: str, direction: Direction) -> None:
    with np.load(CURVES_OF_TASKSET) as tasks:
        losses = tasks[next(key for key in tasks.files if key.endswith("|Y"))][:60, 1:]
    sign = -1 if direction is Direction.MAXIMIZE else 1
    curves = []
    for loss in losses:
        ends = int(np.argmax(~np.isfinite(loss))) if not np.isfinite(loss).all() else len(loss) - 1
        curves.append([(float(at + 1), sign * float(loss[at])) for at in range(ends + 1)])
    found = replays_from_anywhere(name, direction, curves, epochs=float(losses.shape[1]), seed=3)
    assert 10 <= found[StoppedRecord] < 60


@EVERY_RULE
def test_reports_made_again_after_a_checkpoint_change_no_decision(name: str) -> None:
    """After two reports of a trial its worker dies, and the trial goes back by one report."""
    records = lived(name, Direction.MAXIMIZE, seed=7)
    again: list[Record] = []
    for record in records:
        again.append(record)
        if isinstance(record, ReportRecord) and record.epoch == 2.0 and record.outcome is None:
            later = records[records.index(record) + 1]
            if not isinstance(later, StoppedRecord):
                again += [started(record.trial), at_epoch(again, record.trial, 1.0), record]
    assert len(again) >= len(records) + 3
    first, second = rule_of(name), rule_of(name)
    assert replay(records, first) == replay(again, second)
    assert state_of(first) == state_of(second)
    for rule in (first, second):
        show(rule, report(99, 1.0, 0.4))
    assert [first.decide(99, e, 0.4) for e in (1.0, 3.0)] == [second.decide(99, e, 0.4) for e in (1.0, 3.0)]
    before, after = history(records).trials, history(again).trials
    assert {n: replace(t, started=0.0, starts=0) for n, t in before.items()} == {
        n: replace(t, started=0.0, starts=0) for n, t in after.items()
    }


def at_epoch(records: list[Record], trial: int, epoch: float) -> ReportRecord:
    """A trial's report at an epoch."""
    return next(r for r in records if isinstance(r, ReportRecord) and (r.trial, r.epoch) == (trial, epoch))


@EVERY_RULE
def test_an_objective_that_is_not_finite_does_not_reach_a_replayed_rule(name: str) -> None:
    """A diverged trial has one in the ledger, as its last report."""
    records = lived(name, Direction.MAXIMIZE, seed=3)
    bad = [None, math.nan, math.inf, -math.inf]
    diverged = [report(100 + n, 1.0, value) for n, value in enumerate(bad)]
    diverged += [report(100 + n, 2.0, value, "completed") for n, value in enumerate(bad)]
    first, second = rule_of(name), rule_of(name)
    assert replay(records, first) == replay([*diverged[:4], *records, *diverged[4:]], second)
    assert state_of(first) == state_of(second)
