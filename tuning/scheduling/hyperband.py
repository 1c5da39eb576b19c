"""Hyperband (Li et al. 2018): several brackets of successive halving, each with a later first rung."""

from __future__ import annotations

import math
from itertools import accumulate

from trainables.specs.workload import Direction
from tuning.experiment.sections.rungs import rungs_down_from
from tuning.experiment.sections.scheduler import HyperbandSpec
from tuning.ledger.outcomes import StoppedBy
from tuning.scheduling.context import NO_CONTEXT, RuleContext
from tuning.scheduling.grouped import Grouped
from tuning.scheduling.rank import Rank
from tuning.scheduling.rule import StoppingRule, sign_of
from tuning.scheduling.tie_break import mixed


def build_hyperband(
    spec: HyperbandSpec, direction: Direction, *, max_epochs: float, context: RuleContext = NO_CONTEXT
) -> StoppingRule | None:
    """Build Hyperband; None if no report could come before the first rung.

    The last rung of each bracket is exactly at `max_epochs`, so the rungs are counted down from there.
    Within a bracket the best go on by rank. max_epochs: the most epochs that any trial runs.
    """
    if max_epochs <= spec.grace_epochs:
        return None
    factor = spec.reduction_factor
    again = context.factor_again(factor)
    rungs = rungs_down_from(max_epochs, factor, spec.grace_epochs)
    shares = bracket_shares(len(rungs), factor)[: spec.brackets]

    def build(bracket: object) -> StoppingRule:
        assert isinstance(bracket, int)
        return Rank(rungs[bracket:], factor, sign_of(direction), StoppedBy.HYPERBAND, again=again)

    return Grouped(
        StoppedBy.HYPERBAND, lambda number: bracket_of(number, seed=context.seed, shares=shares), build
    )


def bracket_shares(rungs: int, factor: float) -> tuple[int, ...]:
    """How many trials of each bracket there are for how many of the others; that which halves most is first.

    As in Hyperband's loop, so that every bracket takes about the same number of epochs in all.
    """
    return tuple(math.ceil(rungs / (halvings + 1) * factor**halvings) for halvings in reversed(range(rungs)))


def bracket_of(number: int, *, seed: int, shares: tuple[int, ...]) -> int:
    """The bracket of a trial, a function of the seed and its number: a resumed sweep draws it again."""
    drawn = mixed(number, seed + 1) % sum(shares)
    return next(bracket for bracket, end in enumerate(accumulate(shares)) if drawn < end)
