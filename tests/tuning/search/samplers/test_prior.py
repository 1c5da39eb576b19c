"""Priors of settings: what is drawn, how they fade, and what they gain and cost."""

from __future__ import annotations

import random
from statistics import median
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from samplers import study
from spaces import BELIEVED, CONDITIONAL

from benchmarks.priors import TRIALS, interval, search
from tuning.experiment.alternative import Alternative
from tuning.experiment.sections.search import TAKE_PRIORS
from tuning.ledger.outcomes import Outcome
from tuning.search.proposal import Proposal
from tuning.search.samplers.prior import draw_from
from tuning.search.study import Study

SEEDS = range(20)
DOMAINS: list[dict[str, Any]] = [
    {"float": [1e-5, 1e-1], "log": True, "prior": {"value": 1e-3}},
    {"float": [1e-5, 1e-1], "log": True, "prior": {"value": 1e-1}},
    {"float": [-1.0, 1.0], "prior": {"value": 0.25, "confidence": 0.99}},
    {"float": [0.0, 0.5], "step": 0.1, "prior": {"value": 0.3}},
    {"float": [0.1, 0.1], "prior": {"value": 0.1}},
    {"int": [1, 64], "log": True, "prior": {"value": 8}},
    {"int": [4, 32], "step": 4, "prior": {"value": 16, "confidence": 0.9}},
    {"choice": [["query"], ["query", "value"], None], "prior": {"value": None}},
]


@pytest.mark.parametrize("written", DOMAINS, ids=str)
def test_what_is_drawn_is_in_the_domain_and_near_the_value(written: dict[str, Any]) -> None:
    domain = Alternative.model_validate(written, strict=False)
    assert domain.prior is not None
    rng = random.Random(0)
    drawn = [draw_from(domain, domain.prior, rng) for _ in range(400)]
    assert all(domain.match(value) == (value,) for value in drawn)
    believed = domain.prior.value
    if domain.choice is not None:
        share = domain.prior.confidence + (1 - domain.prior.confidence) / len(domain.choice)
        assert drawn.count(believed) / 400 == pytest.approx(share, abs=0.05)
        return
    low, high = domain.span
    inside = [float(value) for value in drawn if isinstance(value, int | float)]
    if domain.log:
        inside, low, high, believed = list(np.log(inside)), *np.log([low, high, believed])
    assert abs(median(inside) - float(believed)) <= 0.2 * (high - low)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", TAKE_PRIORS)
def test_the_very_first_trial_has_the_believed_values(name: str) -> None:
    proposal = study(name, BELIEVED).propose()
    assert isinstance(proposal, Proposal)
    assert proposal.params == {
        "adapter": "lora", "learning_rate": 3e-4, "lora.rank": 4, "freezing": "frozen", "targets": ["query"],
    }  # fmt: skip


def told(name: str, trials: int, seed: int = 0) -> Study:
    """A study after so many completed trials."""
    of = study(name, BELIEVED, trials=None, seed=seed)
    for number in range(trials):
        proposal = of.propose()
        assert isinstance(proposal, Proposal)
        of.report(proposal.number, 1.0, number % 7)
        of.tell(proposal.number, Outcome.COMPLETED, number % 7)
    return of


def test_a_prior_fades_with_evidence_and_leaves_no_trace() -> None:
    def with_nine_tenths(of: Study) -> int:
        """How many of the next 20 trials have the rank of which the file is nearly certain."""
        made = [of.propose() for _ in range(20)]
        return sum(isinstance(p, Proposal) and p.params.get("lora.rank") == 4 for p in made)

    assert with_nine_tenths(told("random", 0)) >= 8
    assert with_nine_tenths(told("random", 40)) <= 4
    assert [told("random", 60, seed).propose() for seed in range(3)] == [
        plain_after(60, seed) for seed in range(3)
    ]


def plain_after(trials: int, seed: int) -> Any:
    """What random search proposes next in the same space without priors."""
    of = study("random", CONDITIONAL, trials=None, seed=seed)
    for _ in range(trials):
        of.propose()
    return of.propose()


def means(name: str, belief: str, trials: int) -> NDArray[np.float64]:
    """The lowest loss after so many trials, for each seed."""
    return np.array([search(name, belief, seed, trials)[-1] for seed in SEEDS])


@pytest.mark.parametrize("name", ["random", "tpe"])
def test_a_right_prior_is_better_after_ten_trials(name: str) -> None:
    for belief in ("right", "near"):
        _, high = interval(means(name, belief, 10) - means(name, "none", 10))
        assert high < 0


@pytest.mark.parametrize("name", ["random", pytest.param("tpe", marks=pytest.mark.slow)])
def test_a_wrong_prior_is_not_clearly_worse_after_sixty(name: str) -> None:
    wrong, plain = means(name, "wrong", TRIALS), means(name, "none", TRIALS)
    error = np.hypot(wrong.std(ddof=1), plain.std(ddof=1)) / len(SEEDS) ** 0.5
    assert wrong.mean() - plain.mean() < 2 * error
