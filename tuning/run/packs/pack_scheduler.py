"""Ray Tune's scheduler whose trials are packs: takes the results of their trials, and refills them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from ray.tune.schedulers import TrialScheduler

from trainables.specs.pack import Packing
from trainables.wording import few
from tuning.ledger.outcomes import Outcome
from tuning.messages import say
from tuning.run.control import Control
from tuning.run.packs.packs import Packs
from tuning.run.ray_scheduler import ControlledScheduler, death_reason
from tuning.run.results import Results, nested_part


class PackScheduler(ControlledScheduler):
    """One of Ray's trials is a pack, whose result holds those of several trials.

    retries: times that a trial starts again after a worker died that trained it alone.  each_round: see
    `ControlledScheduler`.

    A trial that ends gives up its lane at once, before the next result is looked at, so what is proposed
    next depends on the record alone. A pack ends when no trial is left for it.
    """

    def __init__(
        self,
        results: Results,
        packs: Packs,
        control: Control,
        *,
        retries: int = 0,
        each_round: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(results, control, each_round)
        self._packs = packs
        self._retries = retries
        self._deaths: Counter[int] = Counter()

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """A worker died, and the study proposes its trials again.

        Which of them is at fault is not known, so none is charged a retry, unless it was alone. Those whose
        packs die twice run alone.
        """
        self._control.require_ray()  # otherwise Ray's death would count as the death of a pack
        members = self._members_gone(trial)
        if self._results.lacks_baseline:
            self._control.release_baseline(members)
        reason = death_reason(trial)
        if len(members) > 1:
            names = few([str(number) for number in members], 8)
            say(f"the worker process of trials {names} died; they continue from their checkpoints")
        for number in members:
            if len(members) == 1:
                self._deaths[number] += 1
            if self._deaths[number] > self._retries:
                self._results.end(number, Outcome.FAILED, reason)
            elif self._results.is_paused(number):
                self._results.pause(number)
            else:
                self._packs.again(number, alone=len(members) == 1)
        self._refill()

    def on_trial_result(self, tune_controller: Any, trial: Any, result: Mapping[str, Any]) -> str:
        """The results of some trials of a pack. The pack stops if it has none left."""
        pack = trial.config["trial"]
        self._packs.heard(
            pack,
            room=result["room"],
            read=result["read"],
            clock=result["clock"],
            packing=[Packing.model_validate(each) for each in result.get("packing", ())],
        )
        for one in result["results"]:
            number = one["trial"]
            if self._packs.pack_of(number) != pack:
                continue  # it was stopped meanwhile
            if self._results.take(number, one):
                self._packs.left(number, tell=not one["done"])
                self._packs.refill()
        self._refill()
        return str(TrialScheduler.CONTINUE if self._packs.members(pack) else TrialScheduler.STOP)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: Mapping[str, Any]) -> None:
        """The end of a pack: it has no trials any more, or its worker could not be set up for any."""
        members = self._members_gone(trial)
        if nested_part(result, "failure"):
            for number in members:
                self._results.take(number, result)

    def stop(self, tune_controller: Any, number: int) -> None:
        """Stop a trial, if it runs. Its worker notices within a second; its pack continues."""
        if self._packs.pack_of(number) is None:
            return
        self._control.mark_stopped(number)
        self._results.stop(number)
        self._packs.left(number, tell=True)
        self._refill()

    def pause(self, tune_controller: Any, number: int) -> None:
        """Take the lane of a trial away, if it runs; its worker saves it first. Its pack continues."""
        if self._packs.pack_of(number) is None:
            return
        self._results.pause(number)
        self._packs.left(number, tell=True, save=True)
        self._refill()

    def _members_gone(self, trial: Any) -> list[int]:
        """The trials of a pack that has gone, which have not ended."""
        members = self._packs.close(trial.config["trial"])
        return [number for number in members if not self._results.ended(number)]

    def _refill(self) -> None:
        self._packs.refill()
        self._packs.write()
