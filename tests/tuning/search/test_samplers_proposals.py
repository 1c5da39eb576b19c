"""The contract of every search algorithm that an experiment file may name: what it proposes."""

from __future__ import annotations

import random

import pytest
from samplers import CASES, DRAWN, LISTED, first_in, space_for, study
from spaces import CONDITIONAL, EIGHTY, FINITE

from tuning.experiment.space import Space, config_hash
from tuning.ledger.outcomes import Outcome
from tuning.search.proposal import NoProposal, Proposal
from tuning.search.study import Study

EVERY_ALGORITHM = pytest.mark.parametrize("name", CASES)
EVERY_SAMPLER = pytest.mark.parametrize("name", DRAWN)
SLOW = {"gp": 7}
"""Algorithms that take long to propose, and the number of trials with which `make test` tries them."""
FEW_NUMBERS = Space.parse({"lora.rank": {"int": [1, 4]}, "batch_size": {"int": [4, 8], "step": 4}})
TAKES_CONDITIONS = pytest.mark.parametrize("name", [name for name in DRAWN if name != "cmaes"])


def end_each(of: Study) -> list[Proposal]:
    """All proposals, each completed before the next; equal configurations have equal values."""
    made = []
    while isinstance(proposal := of.propose(), Proposal):
        value = random.Random(proposal.hash).random()
        of.report(proposal.number, 1.0, value)
        of.tell(proposal.number, Outcome.COMPLETED, value)
        made.append(proposal)
    return made


@EVERY_ALGORITHM
def test_proposals_are_in_the_space_and_numbered_from_zero(name: str) -> None:
    space = space_for(name)
    made = end_each(study(name, space))
    assert [proposal.number for proposal in made] == list(range(len(made)))
    for proposal in made:
        assert space.locate(proposal.params) == (proposal.params, {})
        assert proposal.hash == config_hash(proposal.params)


@TAKES_CONDITIONS
def test_conditions_hold_in_every_proposal(name: str) -> None:
    for proposal in end_each(study(name, CONDITIONAL, trials=SLOW.get(name, 40))):
        adapter = proposal.params["adapter"]
        assert ("lora.rank" in proposal.params) == (adapter == "lora")
        assert ("adalora.init_rank" in proposal.params) == (adapter == "adalora")
        allowed = {"head_only", "full"} if adapter == "none" else {"frozen", "unfrozen"}
        assert proposal.params["freezing"] in allowed


@EVERY_SAMPLER
def test_many_proposals_in_a_space_of_eighty_repeat_nothing(name: str) -> None:
    trials = 4 * SLOW[name] if name in SLOW else 60
    made = end_each(study(name, EIGHTY, trials=trials))
    assert len({proposal.hash for proposal in made}) == len(made) == trials
    assert all(proposal.reuses is None for proposal in made)


@pytest.mark.parametrize("trials", [50, None])
@EVERY_ALGORITHM
def test_a_finite_space_is_proposed_once_and_then_the_search_ends(name: str, trials: int | None) -> None:
    space = FEW_NUMBERS if name == "cmaes" else FINITE
    of = study(name, space, trials=trials)
    made = end_each(of)
    assert len(made) == space.size() == 8
    assert {proposal.hash for proposal in made} == {config_hash(params) for params in space.grid()}
    assert of.propose() is NoProposal.FINISHED


@EVERY_ALGORITHM
def test_the_first_configurations_come_first_each_once(name: str) -> None:
    space = space_for(name)
    first = first_in(space)
    made = end_each(study(name, space, trials=6, first=[*first, first[0]]))
    assert [proposal.params for proposal in made[: len(first)]] == first
    assert len({proposal.hash for proposal in made}) == 6


@EVERY_ALGORITHM
def test_trials_running_side_by_side_differ(name: str) -> None:
    count = 8 if name in LISTED else 20
    of = study(name, space_for(name), trials=count)
    made = [proposal for _ in range(count) if isinstance(proposal := of.propose(), Proposal)]
    assert len({proposal.hash for proposal in made}) == count
    assert of.propose() is NoProposal.FINISHED


@EVERY_SAMPLER
def test_another_seed_draws_other_configurations(name: str) -> None:
    space = space_for(name)
    trials = SLOW.get(name, 14)
    drawn = [[p.params for p in end_each(study(name, space, trials=trials, seed=seed))] for seed in (3, 3, 4)]
    assert drawn[0] == drawn[1]
    # An unscrambled sequence is the same for all seeds.
    assert (drawn[0] == drawn[2]) == (name == "halton")
