"""Ray's trials are dropped when they have ended, so that a driver's memory does not grow with them."""

from __future__ import annotations

import gc
import os
from typing import Any

import pytest
from ray.tune.experiment import Trial
from scripted import Scripted, Sweeps
from scripted_pack import ScriptedPack

from tuning.ledger.outcomes import Outcome
from tuning.ledger.records import StartedRecord
from tuning.run.ray_scheduler import ControlledScheduler


@pytest.fixture
def alive(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many of Ray's trials were alive in each round of its loop."""
    counts: list[int] = []
    choose = ControlledScheduler.choose_trial_to_run

    def look(self: ControlledScheduler, controller: Any) -> None:
        choose(self, controller)
        counts.append(sum(isinstance(each, Trial) for each in gc.get_objects()))

    monkeypatch.setattr(ControlledScheduler, "choose_trial_to_run", look)
    gc.collect()
    return counts


class DiesInEachThird(Scripted):
    """The worker of each third trial dies, each time that it starts."""

    def step(self) -> dict[str, Any]:
        if self.job.trial % 3 == 2:
            os._exit(1)
        return super().step()


@pytest.mark.exhaustive
def test_trials_that_have_ended_are_dropped(sweep: Sweeps, alive: list[int]) -> None:
    result = sweep(
        DiesInEachThird,
        search={"trials": 12},
        trial={"epochs": 3},
        scheduler={"asha": {"grace_epochs": 1, "reduction_factor": 2}},
        resources={"concurrent": 2},
        retries=1,
    )
    outcomes = [trial.outcome for trial in result.history.trials.values()]
    assert [outcome is Outcome.FAILED for outcome in outcomes] == [False, False, True] * 4
    starts = sum(isinstance(event, StartedRecord) for event in sweep.events)
    assert starts == 16
    # Two that run, and up to two whose ends Ray still carries out, and one that stays.
    assert max(alive) <= 6


def test_trials_of_packs_are_dropped(sweep: Sweeps, alive: list[int]) -> None:
    result = sweep(
        ScriptedPack,
        space={
            "adapter": {"choice": ["lora"]},
            "lora.rank": {"choice": [1, 2, 3, 4, 5, 6, 7, 8]},
            "learning_rate": {"float": [1e-5, 1e-1], "log": True},
        },
        search={"random": {}, "trials": 12},
        trial={"epochs": 2},
        resources={"concurrent": 2, "packing": 2},
    )
    assert {trial.outcome for trial in result.history.trials.values()} == {Outcome.COMPLETED}
    assert len(result.history.trials) == 12
    assert max(alive) <= 4
