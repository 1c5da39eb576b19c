"""Checkpoints: a trial resumes in the middle of an epoch with the same results as without interruption."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.trainables.conftest import config, report_values, run
from trainables.errors import CheckpointError, StorageError
from trainables.specs.workload import Task
from trainables.training.checkpoint import read_state, restore_state, save_state
from trainables.training.engine import Engine

EngineOf = Callable[[Task], Engine]
CONFIGS = [
    '{"adapter": "lora", "epochs": 3, "batch_size": 4, "lora": {"dropout": 0.1}}',
    '{"adapter": "adalora", "epochs": 3, "batch_size": 4, "adalora": {"init_rank": 6, "target_rank": 2}}',
    '{"adapter": "lora", "freezing": "unfreeze_at", "unfreeze_epoch": 1, "epochs": 3, "batch_size": 4}',
    '{"adapter": "none", "freezing": "full", "epochs": 2, "batch_size": 4, "schedule": "plateau"}',
    '{"adapter": "none", "epochs": 2, "batch_size": 4, "head": {"norm": true, "dropout": 0.1}}',
    '{"adapter": "lora", "epochs": 3, "batch_size": 4, "sampling": {"balance": "class", "power": 1.0},'
    ' "loss": "cross_entropy_dice", "loss_weights": {"3": 5.0, "background": 0.2}}',
    '{"adapter": "peft", "epochs": 3, "batch_size": 4,'
    ' "peft": {"method": "PVERA", "arguments": {"generator_seed": 7}}}',
]


@pytest.mark.parametrize("text", CONFIGS)
def test_a_restored_trial_gives_the_curve_of_the_uninterrupted_one(
    engine_of: EngineOf, tmp_path: Path, text: str
) -> None:
    engine = engine_of(Task.SEGMENTATION)
    whole = report_values(run(engine, engine.start(config(text))))
    state = engine.start(config(text))
    before = [report for _, report in engine.advance([state])]
    before += [report for _, report in engine.advance([state], steps=2)]
    save_state(state, tmp_path / "state.ckpt")
    resumed = engine.start(config(text))
    restore_state(resumed, read_state(tmp_path / "state.ckpt"))
    assert resumed.step == 8
    assert report_values(before + run(engine, resumed)) == whole


def test_a_damaged_checkpoint_is_refused(engine_of: EngineOf, tmp_path: Path) -> None:
    engine = engine_of(Task.SEGMENTATION)
    path = tmp_path / "state.ckpt"
    state = engine.start(config(CONFIGS[0]))
    save_state(state, path)
    content = path.read_bytes()
    for damaged in (content[:-7], content[:200], b"", content[:-1] + bytes([content[-1] ^ 1])):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="damaged"):
            restore_state(state, read_state(path))


def test_a_checkpoint_of_another_configuration_is_refused(engine_of: EngineOf, tmp_path: Path) -> None:
    engine = engine_of(Task.SEGMENTATION)
    save_state(engine.start(config(CONFIGS[0])), tmp_path / "state.ckpt")
    with pytest.raises(CheckpointError, match="another configuration"):
        restore_state(engine.start(config(CONFIGS[3])), read_state(tmp_path / "state.ckpt"))


def test_a_full_disk_keeps_the_checkpoint_before(
    engine_of: EngineOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(Task.SEGMENTATION)
    path = tmp_path / "state.ckpt"
    state = engine.start(config(CONFIGS[0]))
    save_state(state, path)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("trainables.training.checkpoint.os.replace", full)
    with pytest.raises(StorageError, match="disk is full"):
        save_state(state, path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["state.ckpt"]
