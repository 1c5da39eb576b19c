"""Counting what a configuration trains, and training on a part of the images."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.trainables.conftest import config, report_values, run
from trainables.models.counting import Counter
from trainables.models.freezing import count_parameters
from trainables.specs.workload import Task
from trainables.training.engine import Engine

EngineOf = Callable[[Task], Engine]


@pytest.mark.parametrize(
    "text",
    [
        '{"adapter": "lora", "lora": {"rank": 4}}',
        '{"adapter": "adalora", "adalora": {"init_rank": 6, "target_rank": 4}, "epochs": 10}',
        '{"adapter": "lokr", "lokr": {"rank": 3}}',
        '{"adapter": "serial_lora", "serial_lora": {"rank": 3}, "freezing": "unfrozen"}',
        '{"adapter": "none", "freezing": "full"}',
    ],
)
def test_counts_are_those_of_the_trial_that_trains(engine_of: EngineOf, text: str) -> None:
    engine = engine_of(Task.SEGMENTATION)
    counter = Counter(engine.workload, engine.data.classes)
    state = engine.start(config(text))
    counted = counter.parameters(config(text))
    assert counted == count_parameters(state.parts, state.config)
    assert counter.adapter(config(text)) == counted["adapter"]


def test_a_trial_sees_its_share_of_the_training_images(engine_of: EngineOf) -> None:
    engine = engine_of(Task.SEGMENTATION)  # of 24 images
    lora = '{"adapter": "lora", "epochs": 2, "batch_size": 6, "train_fraction": %s}'
    quarter, half, whole = (engine.start(config(lora % share)) for share in ("0.25", "0.5", "1.0"))
    assert [s.pace.steps_per_epoch for s in (quarter, half, whole)] == [1, 2, 4]
    reports = run(engine, quarter)
    assert [report.samples for report in reports] == [6, 6]
    assert report_values(reports) == report_values(run(engine, engine.start(config(lora % "0.25"))))
    names = {share: set(engine._training(config(lora % share)).names) for share in ("0.25", "0.5", "1.0")}
    assert names["0.25"] < names["0.5"] < names["1.0"]
    run(engine, half)  # next to another share, with the same engine
    assert [r.samples for r in run(engine, engine.start(config(lora % "1.0")))] == [24, 24]
