"""ASHA: asynchronous successive halving with one bracket (Li et al. 2020)."""

from __future__ import annotations

from typing import assert_never

from trainables.specs.workload import Direction
from tuning.experiment.sections.rungs import rungs_from
from tuning.experiment.sections.scheduler import AshaRule, AshaSpec
from tuning.ledger.outcomes import StoppedBy
from tuning.scheduling.context import AS_RAY, NO_CONTEXT, RuleContext
from tuning.scheduling.grouped import Grouped
from tuning.scheduling.rank import Rank
from tuning.scheduling.rule import StoppingRule, sign_of
from tuning.scheduling.threshold import Threshold


def build_asha(
    spec: AshaSpec, direction: Direction, *, max_epochs: float, context: RuleContext = NO_CONTEXT
) -> StoppingRule | None:
    """Build ASHA with rungs in epochs; None if no report could come before the first.

    max_epochs: the most epochs that any trial runs.
    """
    if max_epochs <= spec.grace_epochs:
        return None
    rungs = rungs_from(spec.grace_epochs, spec.reduction_factor, max_epochs)
    factor, sign, by = spec.reduction_factor, sign_of(direction), StoppedBy.ASHA
    again = context.factor_again(factor)

    def build(_: object) -> StoppingRule:
        match spec.rule:
            case AshaRule.THRESHOLD:
                return Threshold(rungs, factor, sign, by, as_ray=context.version == AS_RAY)
            case AshaRule.RANK:
                return Rank(rungs, factor, sign, by, again=again, rest=spec.rest)
            case _:
                assert_never(spec.rule)

    if not spec.within:
        return build(None)
    return Grouped(by, lambda number: context.group_of(number, spec.within), build)
