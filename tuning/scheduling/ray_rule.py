"""One of Ray Tune's schedulers as a stopping rule on plain values, without Ray's trial or controller."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ray.tune.schedulers import TrialScheduler

from tuning.ledger.records import StoppedBy
from tuning.scheduling.rule import CONTINUE, STOP, Decision


@dataclass(frozen=True)
class _Entrant:
    """All that Ray's schedulers read of a trial."""

    trial_id: str


class RayRule:
    """A `StoppingRule` over one of Ray's schedulers, which reads `epoch` and `objective`."""

    def __init__(self, scheduler: TrialScheduler, by: StoppedBy) -> None:
        self.scheduler = scheduler
        self.by = by
        self._entrants: dict[int, _Entrant] = {}
        self._reached: dict[int, float] = {}

    def decide(self, number: int, epoch: float, objective: float) -> Decision:
        """Decide about a trial that is to continue after this report; a repeated report is ignored."""
        if epoch <= self._reached.get(number, -math.inf):
            return CONTINUE
        self._reached[number] = epoch
        decided = self.scheduler.on_trial_result(None, self._entrant(number), _result(epoch, objective))
        return STOP if decided == TrialScheduler.STOP else CONTINUE

    def finish(self, number: int, epoch: float, objective: float) -> None:
        """Take the last report of a trial that ran all its epochs; others are compared with it."""
        self.scheduler.on_trial_complete(None, self._entrant(number), _result(epoch, objective))

    def _entrant(self, number: int) -> _Entrant:
        if number not in self._entrants:
            self._entrants[number] = _Entrant(str(number))
            self.scheduler.on_trial_add(None, self._entrants[number])
        return self._entrants[number]


def _result(epoch: float, objective: float) -> dict[str, float]:
    # A rung at 0.6 must see the report at 3/5 of an epoch, however either was rounded.
    return {"epoch": epoch + 1e-9, "objective": objective}
