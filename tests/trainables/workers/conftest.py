"""Workers: an actor that tests reuse, and trials that train alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from packs import LORA, Driver

from tests.trainables.conftest import actor_of, report_values, trial_job
from trainables.specs.report import Report
from trainables.workers.packed_trainable import PackedTrainable


@pytest.fixture(scope="module")
def actor(tmp_path_factory: pytest.TempPathFactory) -> PackedTrainable:
    """A worker that tests reuse; each test starts a pack of its own."""
    return Driver(tmp_path_factory.mktemp("first")).actor


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Any]:
    """The curves of trials that train alone, and the folder with their weights."""
    made: dict[int, Any] = {}
    experiment = tmp_path_factory.mktemp("alone")

    def curve(number: int) -> Any:
        if number not in made:
            solo = actor_of(trial_job(experiment, LORA.replace("SEED", str(number)), number))
            results = [solo.step() for _ in range(3)]
            made[number] = report_values([Report.model_validate(r["report"]) for r in results])
        return made[number]

    return curve
