"""Trials that begin where another one was: at its state, or with its weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.trainables.conftest import config, report_values, run
from trainables.errors import CheckpointError
from trainables.specs.parent import ParentFile
from trainables.specs.workload import Task
from trainables.training.begin_from_parent import begin_from_parent
from trainables.training.checkpoint import read_weights, save_state, save_weights
from trainables.training.engine import Engine

EngineOf = Callable[[Task], Engine]
LORA = (
    '{"adapter": "lora", "epochs": EPOCHS, "batch_size": 4, "schedule": "constant", "learning_rate": 2e-3,'
    ' "lora": {"dropout": 0.1}, "freezing": "unfrozen"}'
)


def test_a_continued_trial_gives_the_curve_of_one_that_was_longer_from_the_start(
    engine_of: EngineOf, tmp_path: Path
) -> None:
    """Under a constant rate; other schedules depend on the number of epochs."""
    engine, short, long = (
        engine_of(Task.SEGMENTATION),
        LORA.replace("EPOCHS", "1"),
        LORA.replace("EPOCHS", "3"),
    )
    whole = run(engine, engine.start(config(long)))
    parent = engine.start(config(short))
    run(engine, parent)
    assert parent.done
    save_state(parent, tmp_path / "last.ckpt")
    child = begin_from_parent(
        engine, config(long), ParentFile(path=str(tmp_path / "last.ckpt"), state=True), number=4
    )
    assert (child.number, child.step, child.done, child.best.epoch) == (4, parent.step, False, None)
    found = run(engine, child)
    assert [report.epoch for report in found] == [2.0, 3.0]
    assert [report.metrics for report in found] == [report.metrics for report in whole[1:]]
    assert child.done


def test_a_continued_trial_trains_with_its_own_settings(engine_of: EngineOf, tmp_path: Path) -> None:
    engine = engine_of(Task.SEGMENTATION)
    parent = engine.start(config(LORA.replace("EPOCHS", "3")))
    next(iter(engine.advance([parent])))
    save_state(parent, tmp_path / "last.ckpt")
    at = ParentFile(path=str(tmp_path / "last.ckpt"), state=True)
    text = LORA.replace("EPOCHS", "3").replace("2e-3", "5e-4")
    changed = config(text[:-1] + ', "weight_decay": 0.2, "head_learning_rate": 1e-3, "clip_norm": 0.5}')
    child = begin_from_parent(engine, changed, at, number=1)
    settings = [(g["base_lr"], g["weight_decay"]) for g in child.optimizer.param_groups]
    assert settings == [(5e-4, 0.2), (1e-3, 0.2)]
    moments = [state["exp_avg"] for state in child.optimizer.state.values()]
    assert any(moment.abs().sum() > 0 for moment in moments)
    same = run(engine, begin_from_parent(engine, parent.config, at, number=2))
    assert report_values(run(engine, child)) != report_values(same)
    other = config(LORA.replace("EPOCHS", "3").replace('"batch_size": 4', '"batch_size": 8'))
    with pytest.raises(CheckpointError, match="another configuration"):
        begin_from_parent(engine, other, at, number=3)


def test_patience_begins_anew(engine_of: EngineOf, tmp_path: Path) -> None:
    engine = engine_of(Task.SEGMENTATION)
    text = LORA.replace('"lora":', '"early_stopping": {"patience": 1, "min_delta": 5.0}, "lora":')
    parent = engine.start(config(text.replace("EPOCHS", "4")))
    assert [report.outcome for report in run(engine, parent)] == [None, "early_stopped"]
    save_state(parent, tmp_path / "last.ckpt")
    at = ParentFile(path=str(tmp_path / "last.ckpt"), state=True)
    found = run(engine, begin_from_parent(engine, config(text.replace("EPOCHS", "9")), at, number=1))
    assert [(report.epoch, report.outcome) for report in found] == [(3.0, None), (4.0, "early_stopped")]


@pytest.mark.parametrize("other", ['"learning_rate": 1e-4', '"batch_size": 8, "augment": {"invert": 1.0}'])
def test_a_warm_copy_begins_its_own_first_epoch_with_the_weights(
    engine_of: EngineOf, tmp_path: Path, other: str
) -> None:
    engine = engine_of(Task.SEGMENTATION)
    parent = engine.start(config(LORA.replace("EPOCHS", "2")))
    run(engine, parent)
    save_weights(parent, tmp_path / "best.ckpt")
    at = ParentFile(path=str(tmp_path / "best.ckpt"), state=False)
    changed = config(LORA.replace("EPOCHS", "1")[:-1] + f", {other}}}")
    child = begin_from_parent(engine, changed, at, number=1)
    assert (child.step, child.config) == (0, changed)
    present = dict(child.model.named_parameters()) | dict(child.model.named_buffers())
    weights = read_weights(tmp_path / "best.ckpt").tensors
    assert weights
    assert all(torch.equal(present[name], tensor) for name, tensor in weights.items())
    again = begin_from_parent(engine, changed, at, number=1)
    assert report_values(run(engine, child)) == report_values(run(engine, again))
    assert not all(torch.equal(present[name], tensor) for name, tensor in weights.items())


@pytest.mark.parametrize("state", [True, False])
def test_a_file_that_is_gone_or_damaged_is_an_error(engine_of: EngineOf, tmp_path: Path, state: bool) -> None:
    engine, at = engine_of(Task.SEGMENTATION), ParentFile(path=str(tmp_path / "x.ckpt"), state=state)
    with pytest.raises(CheckpointError, match="cannot read the checkpoint"):
        begin_from_parent(engine, config(LORA.replace("EPOCHS", "2")), at, number=1)
    (tmp_path / "x.ckpt").write_bytes(b"half")
    with pytest.raises(CheckpointError, match="is damaged"):
        begin_from_parent(engine, config(LORA.replace("EPOCHS", "2")), at, number=1)
