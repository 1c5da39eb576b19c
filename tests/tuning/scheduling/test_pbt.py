"""Population-based training in step, with the contract of `test_rules_contract` where trials are replaced."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from object_state import state_of

from trainables.specs.workload import Direction
from tuning.experiment.sections.scheduler import PbtSpec
from tuning.ledger.history import History
from tuning.ledger.outcomes import Outcome, StoppedBy
from tuning.ledger.parent import Parent
from tuning.ledger.records import (
    AddedRecord,
    EndedRecord,
    ExperimentRecord,
    Record,
    ReportRecord,
    StartedRecord,
    StoppedRecord,
)
from tuning.run.reconcile import ContinueTrial, EndTrial, RestTrial, follow, reconcile, replay
from tuning.scheduling.context import RuleContext
from tuning.scheduling.pbt import build_pbt
from tuning.scheduling.rule import CONTINUE, REST, Exploit, PopulationRule

POPULATION, EPOCHS, USERS = 8, 9, 100
"""Trials from `USERS` on are those of users."""


def rule_of(
    direction: Direction = Direction.MAXIMIZE, *, interval: int = 2, population: int = POPULATION
) -> PopulationRule:
    context = RuleContext(seed=3, population=population, member=lambda number: number < USERS)
    rule = build_pbt(PbtSpec(interval_epochs=interval), direction, max_epochs=EPOCHS, context=context)
    assert isinstance(rule, PopulationRule)
    return rule


def arrive(rule: PopulationRule, *values: float, epoch: float = 2.0) -> None:
    """Trials 0, 1, … report at an epoch; all of them rest."""
    assert [rule.decide(n, epoch, value) for n, value in enumerate(values)] == [REST] * len(values)


def test_nothing_is_compared_before_all_are_there() -> None:
    rule = rule_of(population=4)
    arrive(rule, 0.1, 0.2, 0.3)
    assert rule.due == ()
    assert rule.next_rested(none_left=True) is None
    assert rule.waits(2)
    assert rule.decide(3, 1.0, 0.9) == CONTINUE  # between the comparisons
    assert rule.decide(3, 2.0, 0.0) == REST
    assert rule.due == (Exploit(3, 2, generation=1, epoch=2.0),)
    assert not rule.waits(2)


@pytest.mark.parametrize("direction", Direction)
def test_the_worst_quarter_goes_on_from_the_best_quarter(direction: Direction) -> None:
    sign = 1 if direction is Direction.MAXIMIZE else -1
    rule = rule_of(direction)
    arrive(rule, *(sign * value for value in (0.5, 0.1, 0.9, 0.4, 0.2, 0.8, 0.6, 0.3)))
    assert [exploit.trial for exploit in rule.due] == [1, 4]
    assert {exploit.of for exploit in rule.due} <= {2, 5}
    for exploit in rule.due:
        rule.carried_out(exploit.trial, replaced=True)
    assert rule.resting == {0, 2, 3, 5, 6, 7}
    first = rule.next_rested(none_left=False)
    assert first is not None
    assert first.number == 2


def test_equal_trials_replace_nobody() -> None:
    rule = rule_of(population=4)
    arrive(rule, 0.5, 0.5, 0.5, 0.5)
    assert rule.due == ()
    assert rule.resting == {0, 1, 2, 3}


def test_one_that_cannot_be_replaced_goes_on() -> None:
    rule = rule_of(population=4)
    arrive(rule, 0.9, 0.1, 0.5, 0.6)
    rule.carried_out(1, replaced=False)
    assert rule.due == ()
    assert 1 in rule.resting
    assert not rule.waits(1)


def test_one_that_was_stopped_or_went_on_is_no_longer_to_be_replaced() -> None:
    """A replayed rule is not told that a copy had failed: it sees that the trial started again."""
    rule = rule_of(population=4)
    arrive(rule, 0.9, 0.1, 0.5, 0.6)
    rule.wake(1)
    assert rule.due == ()
    assert 1 not in rule.resting


def test_nobody_waits_for_trials_that_have_ended() -> None:
    rule = rule_of(population=4)
    rule.leave(0)
    rule.decide(1, 2.0, 0.1)
    rule.decide(2, 2.0, 0.2)
    assert rule.waits(1)
    rule.leave(3)  # it fails, and was the last one that was missing
    assert not rule.waits(1)


def test_one_that_starts_again_is_waited_for_and_catches_up() -> None:
    rule = rule_of(population=3, interval=1)
    rule.leave(2)
    arrive(rule, 0.1, 0.2, epoch=1.0)
    rule.wake(2)
    for number in (0, 1):
        rule.wake(number)
        assert rule.decide(number, 2.0, 0.3) == REST
    assert rule.waits(0)
    assert rule.decide(2, 1.0, 0.9) == CONTINUE
    assert rule.decide(2, 2.0, 0.9) == REST
    assert not rule.waits(0)


def test_a_trial_that_the_user_stopped_is_neither_copied_nor_replaced() -> None:
    rule = rule_of(population=4)
    arrive(rule, 0.9, 0.1, 0.5)
    for number in (0, 1):
        rule.wake(number)
        rule.leave(number)
    rule.decide(3, 2.0, 0.2)
    assert rule.due == ()  # of two, no quarter is left
    assert rule.resting == {2, 3}


def test_trials_of_users_do_not_take_part() -> None:
    rule = rule_of(population=2)
    assert [rule.decide(USERS, epoch, 0.9) for epoch in (2.0, 4.0)] == [CONTINUE, CONTINUE]
    rule.leave(USERS)
    assert rule.decide(0, 2.0, 0.1) == REST
    assert rule.waits(0)


def test_without_a_population_or_an_interval_there_is_no_rule() -> None:
    spec = PbtSpec(interval_epochs=5)
    context = RuleContext(population=4)
    assert build_pbt(spec, Direction.MAXIMIZE, max_epochs=5, context=context) is None
    assert build_pbt(spec, Direction.MAXIMIZE, max_epochs=9, context=RuleContext()) is None


# --- a resumed driver -------------------------------------------------------------------------

HEADER = ExperimentRecord(name="a", file="", experiment={})


@dataclass
class Sweep:
    """A driver with scripted trials, in random order. rule: replayed, or fresh.

    A trial's value is drawn from its number and its epoch; trials fail at their first report now and then.
    """

    rule: PopulationRule
    records: list[Record] = field(default_factory=list)

    def record(self, record: Record) -> None:
        self.records.append(record)
        follow(record, self.rule)

    def start(self, number: int, parent: Parent | None = None) -> None:
        self.record(StartedRecord(trial=number, params={}, hash=f"h{number}", parent=parent))

    def report(self, number: int, epoch: int) -> bool:
        """Report; returns whether the trial goes on at once."""
        draw = random.Random(f"{number} {epoch}")
        if epoch == 1 and draw.random() < 0.2:
            self.record(EndedRecord(trial=number, outcome=Outcome.FAILED))
            return False
        value = round(draw.random(), 1)
        done = "completed" if epoch == EPOCHS else None
        self.record(ReportRecord(trial=number, epoch=epoch, step=epoch, objective=value, outcome=done))
        if done:
            self.rule.finish(number, epoch, value)
            self.record(EndedRecord(trial=number, outcome=Outcome.COMPLETED, value=value))
            return False
        if self.rule.decide(number, epoch, value) == REST:
            self.record(EndedRecord(trial=number, outcome=Outcome.RESTING))
            return False
        return True

    def replace(self, exploit: Exploit) -> Parent:
        parent = Parent(trial=exploit.of, state=True, file="f", epoch=exploit.epoch, instead_of=exploit.trial)
        self.record(AddedRecord(params={}, hash="h", asked=0.0, parent=parent))
        self.record(StoppedRecord(trial=exploit.trial, by=StoppedBy.PBT))
        self.record(EndedRecord(trial=exploit.trial, outcome=Outcome.PRUNED))
        return parent


def run(sweep: Sweep, seed: int, workers: int = 3) -> None:
    """Run a sweep to its end."""
    draw, rule = random.Random(seed), sweep.rule
    new, at = list(range(POPULATION)), dict[int, int]()
    running: list[int] = []
    while True:
        for exploit in rule.due:
            parent, number = sweep.replace(exploit), len(at) + len(new)
            at[number] = int(exploit.epoch)
            sweep.start(number, parent)
            running.append(number)
        while len(running) < workers:
            if (rested := rule.next_rested(none_left=not new)) is not None:
                sweep.start(rested.number)
                running.append(rested.number)
            elif new:
                at[new[0]] = 0
                sweep.start(new[0])
                running.append(new.pop(0))
            else:
                break
        if not running:
            return
        number = draw.choice(running)
        at[number] += 1
        if not sweep.report(number, at[number]):
            running.remove(number)


def whole(seed: int) -> list[Record]:
    sweep = Sweep(rule_of())
    run(sweep, seed)
    assert not sweep.rule.resting
    return sweep.records


@pytest.mark.parametrize("seed", range(6))
def test_what_is_replaced_does_not_depend_on_who_was_faster_nor_on_the_number_of_workers(seed: int) -> None:
    def exploits(records: list[Record]) -> list[tuple[int, int, float | None]]:
        parents = [r.parent for r in records if isinstance(r, AddedRecord) and r.parent is not None]
        return [(p.instead_of or 0, p.trial, p.epoch) for p in parents]

    one = Sweep(rule_of())
    run(one, 0, workers=1)
    assert len(exploits(one.records)) >= 4
    assert exploits(whole(seed)) == exploits(one.records)


def states(records: list[Record]) -> Iterator[object]:
    """The state of a rule after each record, as the driver calls it."""
    rule = rule_of()
    for record in records:
        follow(record, rule)
        if isinstance(record, ReportRecord):
            take = rule.finish if record.outcome else rule.decide
            take(record.trial, record.epoch, record.objective or 0.0)
        yield state_of(rule)


@pytest.mark.parametrize("seed", range(3))
def test_a_replayed_rule_is_in_the_state_of_the_first_one_wherever_it_was_cut_off(seed: int) -> None:
    records = whole(seed)
    for cut, state in enumerate(states(records), start=1):
        rule = rule_of()
        replay(records[:cut], rule)
        assert state_of(rule) == state


def test_a_driver_that_died_between_the_records_of_a_replacement_completes_it() -> None:
    records = whole(0)
    added = next(at for at, record in enumerate(records) if isinstance(record, AddedRecord))
    parent = getattr(records[added], "parent", None)
    for written in (1, 2):  # the trial was added; it was said that the other one stops
        past, rule = records[: added + written], rule_of()
        stopped = replay(past, rule)
        actions = reconcile(History.of(HEADER, past), stopped, (), resting=rule.resting)
        ends = [action for action in actions if isinstance(action, EndTrial)]
        assert ends == [EndTrial(parent.instead_of, Outcome.PRUNED, asked=written == 1)]
    before = rule_of()
    stopped = replay(records[:added], before)
    actions = reconcile(History.of(HEADER, records[:added]), stopped, (), resting=before.resting)
    assert parent.instead_of in {exploit.trial for exploit in before.due}
    assert {type(action) for action in actions} <= {RestTrial, ContinueTrial}
