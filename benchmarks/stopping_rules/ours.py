"""Our rules in the simulation, as `build_rule` builds them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from benchmarks.stopping_rules.simulation import Answer
from trainables.specs.workload import Direction
from tuning.experiment.sections.scheduler import SchedulerSpec
from tuning.scheduling.context import RuleContext
from tuning.scheduling.registry import build_rule
from tuning.scheduling.rule import Continue, Rest, RestingRule, Stop

ANSWERS = {Continue: Answer.CONTINUES, Stop: Answer.STOPS, Rest: Answer.RESTS}


class Ours:
    """A rule of the product. groups: the group of each configuration, for `within: [group]`."""

    def __init__(
        self,
        section: Mapping[str, Any],
        *,
        epochs: int,
        version: int | None = None,
        groups: frozenset[int] = frozenset(),
    ) -> None:
        spec = SchedulerSpec.model_validate_json(json.dumps(section))
        given = {} if version is None else {"version": version}
        self._configuration: dict[int, int] = {}
        context = RuleContext(
            params_of=lambda number: {"group": self._configuration[number] in groups}, **given
        )
        rule = build_rule(spec, Direction.MINIMIZE, max_epochs=epochs, context=context)
        assert rule is not None
        self.rule = rule

    def starts(self, number: int, configuration: int) -> None:
        """Remember the configuration, for its group."""
        self._configuration[number] = configuration

    def reports(self, number: int, epoch: int, loss: float) -> Answer:
        """Ask the rule."""
        return ANSWERS[type(self.rule.decide(number, float(epoch), loss))]

    def ends(self, number: int, epoch: int, loss: float) -> None:
        """Tell the rule of a last report; of a diverged trial it hears nothing."""
        if not math.isnan(loss):
            self.rule.finish(number, float(epoch), loss)

    def continues_next(self) -> int | None:
        """The resting trial that continues, if the rule lets trials rest."""
        able = self.rule.next_rested(none_left=False) if isinstance(self.rule, RestingRule) else None
        if able is None:
            return None
        assert isinstance(self.rule, RestingRule)
        self.rule.wake(able.number)
        return able.number
