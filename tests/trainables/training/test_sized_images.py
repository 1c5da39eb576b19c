"""Trials whose images become larger: sizes by epoch, values that start anew, and resuming to the bit."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.trainables.conftest import config, report_values, run, workload
from trainables.data.prepared import open_prepared
from trainables.errors import DataError
from trainables.image_sizes import smaller_sizes
from trainables.preparation import prepare_workload
from trainables.specs.data import Split
from trainables.specs.report import Report
from trainables.specs.smaller_images import SmallerImages
from trainables.specs.workload import Task, Workload
from trainables.training.checkpoint import read_state, restore_state, save_state
from trainables.training.engine import Engine

STAGES = SmallerImages(until=(1, 2), sizes=((16, 16), (32, 32), (64, 64)))
LORA = '{"adapter": "lora", "epochs": 3, "batch_size": 4, "reports_per_epoch": 2, "schedule": "plateau"}'
KEPT = '{"adapter": "none", "epochs": 3, "batch_size": 4}'
"""What its frozen blocks compute is kept, at each size."""


def sized(task: Task) -> Workload:
    return workload(task, train=8, validation=4).model_copy(update={"smaller": STAGES})


@pytest.fixture(scope="module", params=[Task.SEGMENTATION, Task.DETECTION])
def engine(request: pytest.FixtureRequest) -> Engine:
    asked = sized(request.param)
    return Engine(asked, prepare_workload(asked), device="cpu")


def sizes(reports: list[Report]) -> list[tuple[float, tuple[int, int] | None]]:
    return [(report.epoch, report.image_size) for report in reports]


def test_each_report_is_of_the_size_that_was_trained_on(engine: Engine) -> None:
    reports = run(engine, engine.start(config(LORA)))
    small, middle = (16, 16), (32, 32)
    assert sizes(reports) == [
        (0.5, small), (1.0, small), (1.5, middle), (2.0, middle), (2.5, None), (3.0, None),
    ]  # fmt: skip
    assert {report.above_floor is None for report in reports if report.image_size} == {True}
    metric = engine.workload.objective.metric
    for pair in (reports[:2], reports[2:4], reports[4:]):  # the running objective starts anew at each size
        assert pair[0].objective == pair[0].metrics[metric]
        assert pair[1].objective == max(report.metrics[metric] for report in pair)


@pytest.mark.parametrize("text", [LORA, KEPT])
def test_a_trial_restored_at_any_size_gives_the_curve_of_the_uninterrupted_one(
    engine: Engine, tmp_path: Path, text: str
) -> None:
    whole = run(engine, engine.start(config(text)))
    for steps in (1, 2, 3):  # in the middle of an epoch, at the change of sizes, and after it
        state = engine.start(config(text))
        before = [report for _, report in engine.advance([state], steps=1)]
        for _ in range(steps - 1):
            before += [report for _, report in engine.advance([state], steps=1)]
        save_state(state, tmp_path / "state.ckpt")
        again = engine.start(config(text))
        restore_state(again, read_state(tmp_path / "state.ckpt"))
        made = before + run(engine, again)
        assert report_values(made) == report_values(whole)
        assert sizes(made) == sizes(whole)


def test_what_is_kept_of_frozen_blocks_changes_no_number(engine: Engine) -> None:
    kept = report_values(run(engine, engine.start(config(KEPT))))
    data = engine.workload.data.model_copy(update={"cache_gb": 0.0})
    bare = Engine(engine.workload.model_copy(update={"data": data}), engine.data.path, device="cpu")
    assert report_values(run(bare, bare.start(config(KEPT)))) == kept


def test_the_data_are_prepared_once_for_each_size_and_the_scorer_needs_one() -> None:
    asked = sized(Task.SEGMENTATION)
    opened = open_prepared(prepare_workload(asked))
    assert opened.image_size == (64, 64)
    assert [open_prepared(folder).image_size for folder in opened.smaller] == [(16, 16), (32, 32)]
    own = open_prepared(prepare_workload(asked.at_size()))
    assert own.splits[Split.TRAIN].path == opened.splits[Split.TRAIN].path
    assert opened.meta["fingerprint"] == own.meta["fingerprint"]
    assert prepare_workload(asked) == opened.path
    assert Engine(asked.at_size(), opened.path, device="cpu").data.image_size == (64, 64)
    with pytest.raises(DataError, match="has images of 1 sizes, not 3; prepare again"):
        Engine(asked, own.path, device="cpu")


def test_shares_become_sides_that_the_model_takes() -> None:
    shares = SmallerImages(until=(1, 3), shares=(0.5, 0.5**0.5))
    for task, steps in ((Task.SEGMENTATION, 8), (Task.DETECTION, 8)):
        found = smaller_sizes(workload(task).model_copy(update={"smaller": shares}))
        assert found == ((32, 32), (48, 48))
        assert all(side % steps == 0 for size in found for side in size)
