"""The stopping rules that an experiment file may name in `scheduler`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from trainables.specs.workload import Direction
from tuning.experiment.sections.scheduler import SchedulerSpec
from tuning.scheduling.asha import build_asha
from tuning.scheduling.context import NO_CONTEXT, RuleContext
from tuning.scheduling.dominance import build_dominance
from tuning.scheduling.hyperband import build_hyperband
from tuning.scheduling.median import build_median
from tuning.scheduling.pasha import build_pasha
from tuning.scheduling.pbt import build_pbt
from tuning.scheduling.rule import StoppingRule


class BuildRule(Protocol):
    """Builds a rule from its own section of the file; None if it could never stop a trial."""

    def __call__(
        self, spec: Any, direction: Direction, *, max_epochs: float, context: RuleContext
    ) -> StoppingRule | None:
        """Build the rule. max_epochs: the most epochs that any trial runs."""
        ...


RULES: Mapping[str, BuildRule] = {
    "asha": build_asha,
    "median": build_median,
    "hyperband": build_hyperband,
    "pasha": build_pasha,
    "dominance": build_dominance,
    "pbt": build_pbt,
}
"""A builder for each section of `SchedulerSpec`, by the section's key."""


def build_rule(
    spec: SchedulerSpec, direction: Direction, *, max_epochs: float, context: RuleContext = NO_CONTEXT
) -> StoppingRule | None:
    """Build the experiment's stopping rule; None without one, or if it could never stop a trial.

    max_epochs: the most epochs that any trial runs.
    """
    if spec.rule is None:
        return None
    return RULES[spec.rule](spec.section, direction, max_epochs=max_epochs, context=context)
