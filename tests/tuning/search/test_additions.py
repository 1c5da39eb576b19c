"""Configurations that users add: proposed first, one more trial each, and the same after a resume."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from trainables.specs.workload import Direction
from tuning.experiment.sections.search import SearchSpec
from tuning.experiment.space import Space, config_hash
from tuning.ledger.history import History
from tuning.ledger.outcomes import Outcome
from tuning.ledger.records import AddedRecord, EndedRecord, ExperimentRecord, StartedRecord
from tuning.search.proposal import NoProposal, Proposal
from tuning.search.study import Study

SPACE = Space.parse(
    {"adapter": {"choice": ["lora", "loha"]}, "learning_rate": {"float": [1e-4, 1e-1], "log": True}}
)
OWN: list[dict[str, Any]] = [
    {"adapter": "loha", "learning_rate": 0.01},
    {"adapter": "lora", "learning_rate": 0.02},
]


def added(params: dict[str, Any]) -> AddedRecord:
    return AddedRecord(params=params, hash=config_hash(params), asked=0.0)


class Sweep:
    """A study and the history that its ledger would have."""

    def __init__(self, history: History | None = None, **search: Any) -> None:
        given = {"trials": 6, "random": {}} | search
        header = ExperimentRecord(name="sweep", file="", experiment={"search": {"trials": given["trials"]}})
        self.history = history or History(header)
        asked = self.history.header.experiment["search"]
        assert isinstance(asked, dict)
        self.study = Study(
            SPACE,
            SearchSpec.model_validate(given),
            name="sweep",
            direction=Direction.MAXIMIZE,
            trials=asked["trials"],  # type: ignore[arg-type]
            history=history,
        )

    def add(self, params: dict[str, Any]) -> None:
        self.history = self.history.with_record(added(params))
        self.study.add(added(params))

    def run(self, count: int = 100) -> list[Proposal]:
        made: list[Proposal] = []
        while len(made) < count and isinstance(proposal := self.study.propose(), Proposal):
            made.append(proposal)
            number, value = proposal.number, float(proposal.params["learning_rate"])  # type: ignore[arg-type]
            for record in (
                StartedRecord(trial=number, params=dict(proposal.params), hash=proposal.hash),
                EndedRecord(trial=number, outcome=Outcome.COMPLETED, value=value),
            ):
                self.history = self.history.with_record(record)
            self.study.tell(number, Outcome.COMPLETED, value)
        return made

    def resumed(self, **search: Any) -> Sweep:
        """As a later driver finds it."""
        return Sweep(
            replace(self.history, trials=dict(self.history.trials), ends=dict(self.history.ends)), **search
        )


@pytest.mark.parametrize("kind", [{"random": {}}, {"random": None, "tpe": {"startup_trials": 2}}])
def test_a_resumed_sweep_proposes_what_the_uninterrupted_one_would(kind: dict[str, Any]) -> None:
    whole, cut = Sweep(**kind), Sweep(**kind)
    for sweep in (whole, cut):
        sweep.run(2)
        for params in OWN:
            sweep.add(params)
    rest = whole.run()
    assert [dict(p.params) for p in rest[:2]] == OWN
    assert [p.number for p in rest] == [2, 3, 4, 5, 6, 7], "6 asked for, and 2 more"
    for taken in range(4):
        again = cut.resumed(**kind)
        assert [(p.number, p.params) for p in again.run()] == [(p.number, p.params) for p in rest[taken:]]
        cut.run(1)


def test_the_search_learns_from_it() -> None:
    sweep = Sweep()
    sweep.add(OWN[0])
    sweep.run(1)
    (trial,) = sweep.study.optuna.get_trials(deepcopy=False)
    assert trial.params == OWN[0]
    assert trial.value == OWN[0]["learning_rate"]


def test_a_sweep_that_has_proposed_all_goes_on() -> None:
    sweep = Sweep(trials=1)
    sweep.run()
    assert sweep.study.propose() is NoProposal.FINISHED
    sweep.add(OWN[0])
    assert sweep.study.left == 1
    assert [dict(p.params) for p in sweep.run()] == OWN[:1]
    assert sweep.study.propose() is NoProposal.FINISHED


def test_a_configuration_that_was_tried_meanwhile_is_not_tried_twice() -> None:
    sweep = Sweep(trials=1)
    sweep.add(OWN[0])
    sweep.add(OWN[0])
    assert [dict(p.params) for p in sweep.run(1)] == OWN[:1]
    assert dict(sweep.run(1)[0].params) != OWN[0]


def test_a_grid_takes_it_out_of_turn() -> None:
    space = Space.parse({"adapter": {"choice": ["lora", "loha", "lokr"]}, "lora.rank": {"choice": [4, 8]}})
    last = list(space.grid())[-1]
    study = Study(
        space, SearchSpec.model_validate({"grid": {}}), name="g", direction=Direction.MAXIMIZE, trials=None
    )
    study.add(added(dict(last)))
    made = []
    while isinstance(proposal := study.propose(), Proposal):
        made.append(dict(proposal.params))
        study.tell(proposal.number, Outcome.COMPLETED, 0.5)
    assert made[0] == last
    assert len(made) == space.size() == len({config_hash(params) for params in made})
