"""The contract of every search algorithm that an experiment file may name."""

from __future__ import annotations

import inspect
import random
from collections.abc import Iterable, Mapping
from typing import Any, get_args

import pytest
from optuna.samplers import BaseSampler, RandomSampler
from samplers import CASES, DRAWN, LISTED, first_in, search_for, space_for, study
from spaces import BELIEVED, CONDITIONAL, FINITE, NUMBERS

from trainables.specs.base import Spec
from trainables.specs.workload import Direction
from tuning.experiment.goals import Goal, Goals
from tuning.experiment.sections.objectives import BoundSpec
from tuning.experiment.sections.search import ALGORITHMS, TAKE_PRIORS, SearchSpec
from tuning.experiment.space import Space
from tuning.ledger.history import History
from tuning.ledger.outcomes import Outcome
from tuning.ledger.records import (
    RECORDS,
    EarlierTrial,
    EndedRecord,
    ExperimentRecord,
    Record,
    ReportRecord,
    WarmStartRecord,
)
from tuning.search.proposal import Proposal
from tuning.search.samplers.draw import Draw
from tuning.search.samplers.registry import LISTS, SAMPLERS
from tuning.search.study import Study

EVERY_ALGORITHM = pytest.mark.parametrize("name", CASES)
EVERY_SAMPLER = pytest.mark.parametrize("name", DRAWN)
SLOW = {"gp": 7}
"""Algorithms that take long to propose, and the number of trials with which `make test` tries them."""


# --- the set of algorithms --------------------------------------------------------------------


def test_the_file_offers_exactly_the_algorithms_that_can_be_built() -> None:
    sections = {
        name: spec
        for name, field in SearchSpec.model_fields.items()
        if isinstance(spec := (get_args(field.annotation) or (None,))[0], type) and issubclass(spec, Spec)
        if name != "stop"
    }
    assert SAMPLERS
    assert LISTS
    assert SAMPLERS.keys().isdisjoint(LISTS)
    made = {name: inspect.signature(make, eval_str=True) for name, make in (SAMPLERS | LISTS).items()}
    assert {name: found.parameters["spec"].annotation for name, found in made.items()} == sections
    assert set(ALGORITHMS) == set(sections)


@EVERY_ALGORITHM
def test_a_section_names_its_algorithm(name: str) -> None:
    spec = search_for(name)
    assert [spec.algorithm] == list(CASES[name])
    assert spec.section is getattr(spec, spec.algorithm)


def test_the_suite_tries_every_algorithm() -> None:
    assert {search_for(name).algorithm for name in CASES} == set(ALGORITHMS)
    assert {search_for(name).algorithm for name in LISTED} == LISTS.keys()


# --- a study that is built again from the ledger ----------------------------------------------

HEADER = ExperimentRecord(name="sweep", file="", experiment={})
ENDS = (
    Outcome.COMPLETED,
    Outcome.EARLY_STOPPED,
    Outcome.PRUNED,
    Outcome.STOPPED,
    Outcome.FAILED,
    Outcome.DIVERGED,
)
EARLIER = [
    WarmStartRecord(
        experiment="old",
        taken=[
            EarlierTrial(
                trial=n,
                params={
                    "adapter": "lora", "learning_rate": 1e-3 * (n + 1), "lora.rank": 1 + n % 8,
                    "freezing": "frozen", "targets": ["query"],
                },
                outcome=Outcome.PRUNED if n % 3 == 0 else Outcome.COMPLETED,
                value=0.1 * n,
                epoch=2.0,
                values={"dice": 0.1 * n, "parameters": n % 4, "loss": 1.0, "peak_mb": 0.2 * n},
            )
            for n in range(6)
        ],
    )
]  # fmt: skip
EARLIER_NUMBERS = [
    WarmStartRecord(
        experiment="old",
        taken=[
            EarlierTrial(
                trial=n,
                params={
                    "learning_rate": 1e-4 * (n + 1), "lora.rank": 1 + n, "lora.dropout": 0.1, "batch_size": 8,
                },
                outcome=Outcome.PRUNED if n % 3 == 0 else Outcome.COMPLETED,
                value=0.1 * n,
                epoch=2.0,
                values={"dice": 0.1 * n, "parameters": n % 4, "loss": 1.0, "peak_mb": 0.2 * n},
            )
            for n in range(6)
        ],
    )
]  # fmt: skip
UP, DOWN = Direction.MAXIMIZE, Direction.MINIMIZE
TWO = (Goal("dice", UP), Goal("parameters", DOWN))
LIMIT = {"peak_mb": BoundSpec(at_most=0.6)}
GOALS = {
    "two objectives": Goals(TWO),
    "two objectives and a constraint": Goals(TWO, LIMIT),
    "three objectives": Goals((*TWO, Goal("loss", DOWN))),
    "a constraint": Goals(TWO[:1], LIMIT),
}
"""What is weighed, by the words after a sampler's name."""
WEIGHED = (
    "tpe, two objectives",
    "tpe, two objectives and a constraint",
    "tpe, a constraint",
    "nsga2, three objectives",
    "nsga2, two objectives and a constraint",
    "nsga2, a constraint",
    "qmc, two objectives and a constraint",
    "random, two objectives",
    "TPESampler, two objectives",
    "NSGAIISampler, two objectives",
    "NSGAIIISampler, three objectives",
)
STARTS = ("from nothing", "with first configurations", "with earlier experiments")


def started_with(how: str, space: Space) -> dict[str, Any]:
    if how == "with first configurations":
        return {"first": first_in(space)}
    earlier = EARLIER_NUMBERS if space is NUMBERS else EARLIER
    return {"earlier": earlier} if how == "with earlier experiments" else {}


class Sweep:
    """Up to three trials side by side, one event at a time.

    Which trial reports or ends next, and with which value, is a function of the ledger's length alone. So
    the same events happen in a sweep whose study was built again.
    """

    def __init__(self, of: Study, records: Iterable[Record] = (), goals: Goals | None = None) -> None:
        self.study = of
        self.metrics = () if goals is None else goals.metrics
        self.records = list(records)
        self.history = History.of(HEADER, self.records)
        self.proposals: dict[int, Mapping[str, Any]] = {}

    def run(self, proposals: int = 1000) -> Sweep:
        """Run to the end, or until so many proposals were made."""
        while (live := self._live()) and len(self.proposals) < proposals:
            self._advance(random.Random(len(self.records)), live)
        return self

    def _live(self) -> list[int]:
        """Start the trials that can start; return those that run."""
        live = [number for number, trial in self.history.trials.items() if trial.outcome is None]
        while len(live) < 3 and isinstance(proposal := self.study.propose(), Proposal):
            self.proposals[proposal.number] = proposal.params
            self._record(proposal.started())
            live.append(proposal.number)
        return live

    def _advance(self, draw: random.Random, live: list[int]) -> None:
        trial = self.history.trials[draw.choice(live)]
        epoch = trial.epoch + 1.0
        if epoch == 1.0 or draw.random() < 0.5:
            objective = draw.random()
            self.study.report(trial.number, epoch, objective)
            self._record(ReportRecord(trial=trial.number, epoch=epoch, step=int(epoch), objective=objective))
            return
        outcome = draw.choice(ENDS)
        value = None if outcome in (Outcome.FAILED, Outcome.DIVERGED) else trial.value
        values = {} if value is None else {metric: draw.random() for metric in self.metrics}
        self.study.tell(trial.number, outcome, value, values=values)
        self._record(EndedRecord(trial=trial.number, outcome=outcome, value=value, values=values))

    def _record(self, record: Record) -> None:
        self.records.append(record)
        self.history = self.history.with_record(record)


def proposes_the_same_when_built_again(
    name: str, space: Space, how: str, step: int = 1, trials: int = 14
) -> None:
    """Cut the ledger after each of its lines, or each `step`th, build the study again, and continue.

    Two more proposals are compared, at every tenth line all until the end.
    """
    goals = GOALS.get(name.partition(", ")[2])
    given = started_with(how, space) | {"trials": trials, "goals": goals}
    whole = Sweep(study(name, space, **given), goals=goals).run()
    assert len(whole.proposals) == (8 if name in LISTED else trials)
    assert len({record.outcome for record in whole.records if isinstance(record, EndedRecord)}) >= 3
    outstanding = set()
    kept = [RECORDS.validate_json(record.model_dump_json(by_alias=True)) for record in whole.records]
    for cut in range(0, len(whole.records), step):
        history = History.of(HEADER, kept[:cut])
        rebuilt = study(name, space, history=history, **given)
        unfinished = [number for number, trial in history.trials.items() if not trial.over]
        for number in unfinished:
            again = rebuilt.propose()
            assert isinstance(again, Proposal)
            assert (again.number, again.again, again.params) == (number, True, whole.proposals[number])
        expected = [item for item in whole.proposals.items() if item[0] not in history.trials]
        rest = Sweep(rebuilt, kept[:cut], goals).run(2 if cut % 10 else len(expected) + 1)
        made = list(rest.proposals.items())
        assert made == expected[: len(made)], f"cut off after line {cut}"
        assert len(made) >= min(len(expected), 2 if cut % 10 else 1000)
        outstanding.add(len(unfinished))
    assert step > 1 or {0, 2, 3} <= outstanding


@pytest.mark.parametrize("how", STARTS)
@EVERY_SAMPLER
def test_a_sampler_proposes_the_same_when_its_study_is_built_again(name: str, how: str) -> None:
    if name in SLOW:
        step = 29 if "earlier" in how else 13  # with as many more trials to learn from
        proposes_the_same_when_built_again(name, space_for(name), how, step=step, trials=SLOW[name])
    else:
        proposes_the_same_when_built_again(name, space_for(name), how)


@pytest.mark.parametrize("how", STARTS)
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in TAKE_PRIORS]
)
def test_a_sampler_with_priors_proposes_the_same_when_its_study_is_built_again(name: str, how: str) -> None:
    step, trials = (29, SLOW[name]) if name in SLOW else (4, 14)
    proposes_the_same_when_built_again(name, BELIEVED, how, step=step, trials=trials)


@pytest.mark.parametrize("name", ["tpe, two objectives and a constraint", "nsga2, a constraint"])
def test_a_sampler_with_priors_that_weighs_more_proposes_the_same_when_built_again(name: str) -> None:
    proposes_the_same_when_built_again(name, BELIEVED, "from nothing", step=3)


@pytest.mark.parametrize("name", WEIGHED)
def test_a_sampler_that_weighs_more_proposes_the_same_when_its_study_is_built_again(name: str) -> None:
    space = space_for(name.partition(", ")[0])
    proposes_the_same_when_built_again(name, space, "with first configurations", step=3)
    if "qmc" not in name and "random" not in name:  # they learn nothing
        proposes_the_same_when_built_again(name, space, "with earlier experiments", step=5)


@pytest.mark.parametrize("name", ["tpe, a constraint", "nsga2, two objectives and a constraint"])
def test_a_sampler_proposes_otherwise_if_it_is_not_told_the_constraints(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def proposals() -> list[Mapping[str, Any]]:
        goals = GOALS[name.partition(", ")[2]]
        given = Sweep(study(name, CONDITIONAL, trials=20, goals=goals), goals=goals).run()
        return list(given.proposals.values())

    with_constraints = proposals()
    assert proposals() == with_constraints
    monkeypatch.setattr(Goals, "violations", lambda self, values: {})
    assert proposals() != with_constraints


@pytest.mark.parametrize(
    "step",
    [pytest.param(7, marks=pytest.mark.slow), pytest.param(1, marks=pytest.mark.exhaustive)],
)
@pytest.mark.parametrize("how", STARTS)
@pytest.mark.parametrize("name", SLOW)
def test_a_slow_sampler_proposes_the_same_when_its_study_is_built_again(
    name: str, how: str, step: int
) -> None:
    proposes_the_same_when_built_again(name, space_for(name), how, step)


@pytest.mark.parametrize("name", LISTED)
@pytest.mark.parametrize("how", STARTS[:2])
def test_a_list_continues_where_it_was_cut_off(name: str, how: str) -> None:
    proposes_the_same_when_built_again(name, FINITE, how)


def test_a_sampler_that_remembers_what_it_drew_does_not_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = iter(range(1_000_000))

    def counting(spec: Any, draw: Draw) -> BaseSampler:
        return RandomSampler(seed=next(draws))

    monkeypatch.setattr("tuning.search.samplers.registry.SAMPLERS", {"random": counting})
    with pytest.raises(AssertionError, match="cut off after line"):
        proposes_the_same_when_built_again("random", CONDITIONAL, "from nothing")


@pytest.mark.parametrize("name", ["qmc", "halton", "NSGAIISampler", "NSGAIIISampler"])
def test_a_sampler_needs_what_it_noted(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuning.search.study.NOTING", frozenset())
    with pytest.raises(AssertionError, match="cut off after line"):
        proposes_the_same_when_built_again(name, CONDITIONAL, "from nothing")


def test_nsga2_needs_the_order_of_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    def by_number(history: History, record: Record) -> History:
        found = with_record(history, record)
        ends = sorted(found.ends)
        found.ends.clear()
        found.ends.update(dict.fromkeys(ends))
        return found

    with_record = History.with_record
    monkeypatch.setattr(History, "with_record", by_number)
    with pytest.raises(AssertionError, match="cut off after line"):
        proposes_the_same_when_built_again("nsga2", CONDITIONAL, "from nothing")


def test_a_sampler_that_reads_the_studys_attributes_does_not_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """The study's own attributes are not recorded, other than the system attributes."""

    def attributes(spec: Any, draw: Draw) -> BaseSampler:
        drawn = draw.study.user_attrs.get("drawn", 0)
        draw.study.set_user_attr("drawn", drawn + 1)
        return RandomSampler(seed=drawn)

    monkeypatch.setattr("tuning.search.samplers.registry.SAMPLERS", {"random": attributes})
    with pytest.raises(AssertionError, match="cut off after line"):
        proposes_the_same_when_built_again("random", CONDITIONAL, "from nothing")
