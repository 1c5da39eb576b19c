"""Our rules in the simulation, as `build_rule` builds them; and resting, which the product does not have."""

from __future__ import annotations

import json
import math
from bisect import bisect_left
from collections.abc import Mapping
from typing import Any

from benchmarks.stopping_rules.simulation import Answer
from trainables.specs.workload import Direction
from tuning.experiment.sections.rungs import rungs_from
from tuning.experiment.sections.scheduler import SchedulerSpec
from tuning.ledger.records import StoppedBy
from tuning.scheduling.context import RuleContext
from tuning.scheduling.rank import Place, Rank
from tuning.scheduling.registry import build_rule
from tuning.scheduling.rule import STOP, Decision


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
        stops = self.rule.decide(number, float(epoch), loss) == STOP
        return Answer.STOPS if stops else Answer.CONTINUES

    def ends(self, number: int, epoch: int, loss: float) -> None:
        """Tell the rule of a last report; of a diverged trial it hears nothing."""
        if not math.isnan(loss):
            self.rule.finish(number, float(epoch), loss)

    def continues_next(self) -> int | None:
        """No trial rests."""
        return None


class _Resting(Rank):
    """The rule `rank`, which can say whether a trial is among the best n // factor of its rung."""

    def place_of(self, number: int) -> tuple[int, Place] | None:
        """The last rung of a trial and its place there."""
        return self._last.get(number)

    def is_among_best(self, rung: int, place: Place) -> bool:
        """Whether the trial would continue where a rung must hold `factor` values first."""
        return bisect_left(self._places[rung], place) < len(self._places[rung]) // self._factor

    def is_thin(self, rung: int) -> bool:
        """Whether the rung holds fewer values than `factor`."""
        return len(self._places[rung]) < self._factor


class RestingRank:
    """`rank` with resting: at a rung of fewer than `factor` values a trial rests, and its worker is free.

    A free worker first continues the resting trial that is among the best of its rung, the highest rung
    first. groups: as of `Ours`.
    """

    def __init__(
        self, *, epochs: int, factor: float = 3.0, grace: float = 1.0, groups: frozenset[int] | None = None
    ) -> None:
        self._given = (rungs_from(grace, factor, epochs), factor, -1.0, StoppedBy.ASHA)
        self._groups = groups
        self._rules: dict[bool, _Resting] = {}
        self._configuration: dict[int, int] = {}
        self._resting: dict[int, tuple[int, Place]] = {}

    def starts(self, number: int, configuration: int) -> None:
        """Remember the configuration, for its group."""
        self._configuration[number] = configuration

    def reports(self, number: int, epoch: int, loss: float) -> Answer:
        """Ask the rule; at a new rung that is thin the trial rests."""
        rule = self._rule_of(number)
        before = rule.place_of(number)
        decision: Decision = rule.decide(number, float(epoch), loss)
        now = rule.place_of(number)
        if now is not None and now != before and rule.is_thin(now[0]):
            self._resting[number] = now
            return Answer.RESTS
        return Answer.STOPS if decision == STOP else Answer.CONTINUES

    def ends(self, number: int, epoch: int, loss: float) -> None:
        """Tell the rule of a last report."""
        if not math.isnan(loss):
            self._rule_of(number).finish(number, float(epoch), loss)

    def continues_next(self) -> int | None:
        """The resting trial that is among the best of its rung, the highest rung first."""
        able = [
            (-rung, place, number)
            for number, (rung, place) in self._resting.items()
            if self._rule_of(number).is_among_best(rung, place)
        ]
        if not able:
            return None
        number = min(able)[2]
        del self._resting[number]
        return number

    def _rule_of(self, number: int) -> _Resting:
        group = self._groups is not None and self._configuration[number] in self._groups
        return self._rules.setdefault(group, _Resting(*self._given))
