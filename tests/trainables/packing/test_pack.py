"""A pack of trials: each of them reports what it reports alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.trainables.conftest import config, report_values, run
from trainables.packing.pack import PackEngine
from trainables.specs.report import Report
from trainables.specs.workload import Task
from trainables.training.engine import Engine

EngineOf = Callable[[Task], Engine]
LORA = '{"adapter": "lora", "epochs": 2, "batch_size": 8, "lora": {"dropout": 0.2, "rank": 4}}'
IA3 = '{"adapter": "peft", "peft": {"method": "IA3"}, "epochs": 1, "batch_size": 8, "seed": 5}'


@pytest.mark.parametrize("task", list(Task))
def test_a_trial_that_cannot_be_packed_reports_what_it_reports_alone(engine_of: EngineOf, task: Task) -> None:
    engine = engine_of(task)
    alone = report_values(run(engine, engine.start(config(IA3))))
    packed = engine.start(config(IA3))
    found = [report for _, report in PackEngine(engine).advance([packed])]
    assert report_values([report for report in found if isinstance(report, Report)]) == alone


def test_an_error_in_one_trial_comes_in_place_of_its_report(engine_of: EngineOf) -> None:
    engine = engine_of(Task.SEGMENTATION)
    broken, whole = engine.start(config(LORA)), engine.start(config(IA3))
    del broken.optimizer
    found = {id(state): report for state, report in PackEngine(engine).advance([broken, whole])}
    assert isinstance(found[id(broken)], AttributeError)
    assert isinstance(found[id(whole)], Report)
