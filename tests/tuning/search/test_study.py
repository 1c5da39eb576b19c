from __future__ import annotations

import math
import pickle
from collections import Counter
from collections.abc import Sequence
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from spaces import CONDITIONAL, NUMBERS

from trainables.specs.workload import Direction
from tuning.experiment.sections.search import CmaesSpec, Nsga2Spec, RandomSpec, SearchSpec, TpeSpec
from tuning.experiment.space import Space
from tuning.ledger.history import History, TrialHistory
from tuning.ledger.outcomes import AT_REST, Outcome
from tuning.ledger.records import EndedRecord, ExperimentRecord, ReportRecord, StartedRecord
from tuning.search.proposal import NoProposal, Proposal
from tuning.search.study import Study


def study(space: Space, *, trials: int | None = 10, history: History | None = None, **search: Any) -> Study:
    kinds = {"tpe", "random", "grid", "cmaes", "nsga2"} & search.keys()
    spec = SearchSpec(**search) if kinds else SearchSpec(tpe=TpeSpec(startup_trials=5), **search)
    return Study(space, spec, name="sweep", direction=Direction.MAXIMIZE, trials=trials, history=history)


def score(proposal: Proposal) -> float:
    """A value that is best at a learning rate of 1e-2."""
    rate = proposal.params.get("learning_rate", 1e-3)
    assert isinstance(rate, float)
    return 1.0 - abs(math.log10(rate) + 2.0)


def run(of: Study, count: int = 1000) -> list[Proposal]:
    """Proposals, each ended before the next."""
    made = []
    while len(made) < count and isinstance(proposal := of.propose(), Proposal):
        made.append(proposal)
        of.report(proposal.number, 1.0, score(proposal))
        of.tell(proposal.number, Outcome.COMPLETED, score(proposal))
    return made


def states(of: Study) -> Counter[str]:
    return Counter(t.state.name for t in of.optuna.trials if "trial" in t.user_attrs)


class Record:
    """A history like one from the ledger."""

    def __init__(self) -> None:
        self.history = History(ExperimentRecord(name="sweep", file="", experiment={}))

    def add(self, proposal: Proposal, outcome: Outcome | None, value: float | None = None) -> None:
        number = proposal.number
        records: list[Any] = [StartedRecord(trial=number, params=dict(proposal.params), hash=proposal.hash)]
        if value is not None:
            records.append(ReportRecord(trial=number, epoch=1.0, step=1, objective=value))
        if outcome is not None:
            records.append(EndedRecord(trial=number, outcome=outcome, value=value))
        for record in records:
            self.history = self.history.with_record(record)


# --- the design's table of defects ------------------------------------------------------------


def test_the_space_is_a_value_that_pickles() -> None:
    assert pickle.loads(pickle.dumps(CONDITIONAL)) == CONDITIONAL


def test_it_says_how_many_trials_are_still_to_be_proposed() -> None:
    few = Space.parse({"adapter": {"choice": ["lora", "loha", "lokr"]}})
    for of, left in ((study(few, trials=None), 3), (study(few, trials=2), 2), (study(few, trials=9), 3)):
        assert of.left == left
        of.propose()
        assert of.left == left - 1
    endless = Space.parse({"learning_rate": {"float": [1e-4, 1e-2]}})
    assert study(endless, trials=None).left is None
    record, first = Record(), study(endless, trials=4)
    proposal = first.propose()
    assert isinstance(proposal, Proposal)
    record.add(proposal, None)
    assert study(endless, trials=4, history=record.history).left == 4  # one is unfinished


def test_an_unfinished_trial_goes_on_under_its_number_and_leaves_no_zombie() -> None:
    first, record = study(CONDITIONAL), Record()
    proposals = [p for _ in range(3) if isinstance(p := first.propose(), Proposal)]
    record.add(proposals[0], Outcome.COMPLETED, 0.5)
    record.add(proposals[1], None)  # the driver was killed
    record.add(proposals[2], Outcome.INTERRUPTED, 0.1)
    resumed = study(CONDITIONAL, history=record.history)
    again = [resumed.propose(), resumed.propose()]
    assert [(p.number, p.params, p.again) for p in again if isinstance(p, Proposal)] == [
        (p.number, p.params, True) for p in proposals[1:]
    ]
    for number in (1, 2):
        resumed.tell(number, Outcome.COMPLETED, 0.3)
    assert not [t for t in resumed.optuna.trials if t.state is TrialState.RUNNING]
    following = resumed.propose()
    assert isinstance(following, Proposal)
    assert following.number == 3


@pytest.mark.parametrize("outcome", [Outcome.PRUNED, Outcome.STOPPED])
def test_a_stopped_trial_is_pruned_with_its_last_report_as_value(outcome: Outcome) -> None:
    of = study(CONDITIONAL)
    proposal = of.propose()
    assert isinstance(proposal, Proposal)
    of.report(proposal.number, 0.5, 0.2)
    of.report(proposal.number, 1.0, 0.4)
    of.tell(proposal.number, outcome, 0.4)
    (trial,) = of.optuna.trials
    assert (trial.state, trial.value) == (TrialState.PRUNED, 0.4)
    assert trial.intermediate_values == {500: 0.2, 1000: 0.4}


@pytest.mark.parametrize("value", [math.nan, math.inf, None])
def test_nan_never_reaches_tell(value: float | None) -> None:
    of = study(CONDITIONAL)
    proposal = of.propose()
    assert isinstance(proposal, Proposal)
    if value is not None:
        of.report(proposal.number, 1.0, value)
    of.tell(proposal.number, Outcome.COMPLETED, value)
    (trial,) = of.optuna.trials
    assert trial.state is TrialState.FAIL
    assert trial.intermediate_values == {}


@pytest.mark.parametrize("outcome", [Outcome.DIVERGED, Outcome.FAILED])
def test_a_diverged_or_failed_trial_is_failed_with_its_reason(outcome: Outcome) -> None:
    of = study(CONDITIONAL)
    proposal = of.propose()
    assert isinstance(proposal, Proposal)
    of.tell(proposal.number, outcome, None, "the loss is nan")
    (trial,) = of.optuna.trials
    assert (trial.state, trial.user_attrs["reason"]) == (TrialState.FAIL, "the loss is nan")


def test_the_study_has_the_experiments_name() -> None:
    assert study(CONDITIONAL).optuna.study_name == "sweep"


# --- sampling ---------------------------------------------------------------------------------


def test_tpe_finds_the_good_region() -> None:
    made = run(study(CONDITIONAL, trials=40, tpe=TpeSpec(startup_trials=10)))
    late = [score(p) for p in made[-10:]]
    assert sum(late) / len(late) > sum(score(p) for p in made[:10]) / 10 + 0.3


@pytest.mark.parametrize(
    "search", [{"cmaes": CmaesSpec()}, {"nsga2": Nsga2Spec(population=10)}], ids=["cmaes", "nsga2"]
)
@pytest.mark.parametrize("outcome", [Outcome.COMPLETED, Outcome.PRUNED])
def test_generations_become_better(search: dict[str, Any], outcome: Outcome) -> None:
    """Also where every trial is stopped, as in a sweep under ASHA in which none has finished yet."""
    of, values = study(NUMBERS, trials=120, **search), []
    while isinstance(proposal := of.propose(), Proposal):
        values.append(score(proposal))
        of.report(proposal.number, 1.0, values[-1])
        of.tell(proposal.number, outcome, values[-1])
    assert sum(values[-20:]) / 20 > sum(values[:20]) / 20 + 0.3


# --- duplicates -------------------------------------------------------------------------------

ALMOST_FINITE = Space.parse(
    {
        "adapter": {"choice": ["none", "lora"]},
        "lora.rank": [{"float": [1.0, 2.0], "when": {"adapter": "lora"}}],
    }
)


class AtRest:
    """Trials that rest. able: those that may continue; last: those that may when no new one is left."""

    def __init__(self, able: Sequence[TrialHistory] = (), last: Sequence[TrialHistory] = ()) -> None:
        self.able, self.last, self.stay = list(able), list(last), 0

    def __len__(self) -> int:
        return len(self.able) + len(self.last) + self.stay

    def take(self, *, none_left: bool) -> TrialHistory | None:
        if self.able:
            return self.able.pop(0)
        return self.last.pop(0) if none_left and self.last else None


def test_a_trial_that_rested_comes_before_a_new_one_or_when_none_is_left() -> None:
    known = [TrialHistory(n, {"adapter": "none"}, f"h{n}", 0.0) for n in range(2)]
    rests = AtRest(able=known[:1], last=known[1:])
    of = Study(
        ALMOST_FINITE,
        SearchSpec(random=RandomSpec()),
        name="sweep",
        direction=Direction.MAXIMIZE,
        trials=1,
        resting=rests,
    )
    assert of.left == 3
    proposed = [of.propose() for _ in range(4)]
    assert [p.again for p in proposed[:3] if isinstance(p, Proposal)] == [True, False, True]
    assert proposed[3] is NoProposal.FINISHED


def test_the_result_of_a_resting_trial_is_not_waited_for_once_none_runs() -> None:
    rests = AtRest()
    of = stuck(trials=12, resting=rests)
    seen: list[Proposal] = []
    while isinstance(proposal := of.propose(), Proposal):
        seen.append(proposal)
    assert proposal is NoProposal.WAIT
    for running in seen[1:]:
        of.tell(running.number, Outcome.COMPLETED, 0.5)
    assert of.propose() is NoProposal.WAIT  # the first still runs
    rests.stay = 1
    assert of.propose() is NoProposal.FINISHED


def stuck(trials: int = 4, resting: AtRest | None = None) -> Study:
    """A study that does not try further configurations once the sampler repeats itself."""
    return Study(
        ALMOST_FINITE,
        SearchSpec(random=RandomSpec(), first=({"adapter": "none"},)),
        name="sweep",
        direction=Direction.MAXIMIZE,
        trials=trials,
        resting=resting,
        asks=1,
        random_asks=0,
    )


def test_a_repeated_configuration_reuses_the_recorded_result() -> None:
    made = run(stuck(trials=12))
    reused = [p for p in made if p.reuses is not None]
    assert reused
    assert {(p.reuses, p.params["adapter"]) for p in reused} == {(0, "none")}
    assert [p.number for p in made] == list(range(12))


def test_a_repeated_configuration_that_still_runs_is_waited_for() -> None:
    of = stuck(trials=12)
    seen: list[Proposal | NoProposal] = []
    while NoProposal.WAIT not in seen:
        seen.append(of.propose())
    assert not [p for p in seen if isinstance(p, Proposal) and p.reuses is not None]
    of.tell(0, Outcome.COMPLETED, 0.5)
    again = of.propose()
    assert isinstance(again, Proposal)
    assert again.reuses == 0


def test_discarded_asks_leave_nothing_running() -> None:
    of = stuck(trials=12)
    run(of)
    assert not [t for t in of.optuna.trials if t.state is TrialState.RUNNING]


def test_outcomes_are_told_as_the_table_says() -> None:
    of = study(CONDITIONAL)
    outcomes = [o for o in Outcome if o not in (Outcome.REUSED, Outcome.INTERRUPTED, *AT_REST)]
    for outcome in outcomes:
        proposal = of.propose()
        assert isinstance(proposal, Proposal)
        of.report(proposal.number, 1.0, 0.5)
        of.tell(proposal.number, outcome, None if outcome in (Outcome.FAILED, Outcome.DIVERGED) else 0.5)
    assert states(of) == {"COMPLETE": 2, "PRUNED": 2, "FAIL": 2}
    assert optuna.logging.get_verbosity() == optuna.logging.ERROR


def test_a_rebuilt_study_holds_what_the_first_was_told() -> None:
    first, record = study(CONDITIONAL, trials=12, random={}), Record()
    told = [
        (Outcome.COMPLETED, 0.5),
        (Outcome.EARLY_STOPPED, 0.25),
        (Outcome.PRUNED, 0.125),
        (Outcome.PRUNED, None),
        (Outcome.STOPPED, 0.75),
        (Outcome.FAILED, None),
        (Outcome.DIVERGED, None),
        (Outcome.COMPLETED, None),
        (None, 0.375),
    ]
    for outcome, value in told:
        proposal = first.propose()
        assert isinstance(proposal, Proposal)
        record.add(proposal, outcome, value)
        if value is not None:
            first.report(proposal.number, 1.0, value)
        if outcome is not None:
            first.tell(proposal.number, outcome, value)
    rebuilt = study(CONDITIONAL, trials=12, random={}, history=record.history)
    assert [held(t) for t in rebuilt.optuna.trials] == [held(t) for t in first.optuna.trials]


def held(trial: optuna.trial.FrozenTrial) -> list[Any]:
    return [
        trial.number, trial.state, trial.values, trial.params, trial.distributions,
        trial.intermediate_values, trial.user_attrs,
    ]  # fmt: skip


def test_a_trial_stopped_on_smaller_images_is_told_as_pruned_with_what_it_had_reached() -> None:
    """It has no value of its own, and a study that is built again from the record knows the same."""
    asked, record = study(NUMBERS), Record()
    proposal = asked.propose()
    assert isinstance(proposal, Proposal)
    record.add(proposal, None)
    small = ReportRecord(trial=0, epoch=1.0, step=1, objective=0.4, image_size=(32, 32))
    for line in (small, EndedRecord(trial=0, outcome=Outcome.PRUNED, value=None, epoch=1.0)):
        record.history = record.history.with_record(line)
    trial = record.history.trials[0]
    assert (trial.value, trial.told_value) == (None, 0.4)
    asked.report(0, 1.0, 0.4)
    asked.tell(0, Outcome.PRUNED, trial.told_value)
    again = study(NUMBERS, history=record.history)
    told, rebuilt = (of.optuna.trials[0] for of in (asked, again))
    assert (told.state, told.value) == (rebuilt.state, rebuilt.value) == (TrialState.PRUNED, 0.4)
    assert told.intermediate_values == rebuilt.intermediate_values == {1000: 0.4}
