"""Checkpoints say whose they are; those of another trial, or of another configuration, are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.trainables.conftest import config
from trainables.errors import CheckpointError, StaleStartError
from trainables.specs.owner import Owner
from trainables.specs.trial import config_digest
from trainables.specs.workload import Task
from trainables.training.checkpoint import (
    Identity,
    pack_weights,
    read_state,
    read_weights,
    save_state,
    save_weights,
    stored_digest,
    write_packed,
)
from trainables.training.engine import Engine

LORA = config('{"adapter": "lora", "epochs": 2, "batch_size": 8}')
OTHER = config('{"adapter": "lora", "epochs": 2, "batch_size": 8, "learning_rate": 0.5}')


@pytest.fixture
def engine(engine_of: Callable[[Task], Engine]) -> Engine:
    return engine_of(Task.SEGMENTATION)


@pytest.fixture
def folder(tmp_path: Path, engine: Engine) -> Path:
    """Both kinds of checkpoints of trial 3, in its second start, after one step."""
    state = engine.start(LORA, number=3)
    list(engine.advance([state], steps=1))
    write_packed(pack_weights(state, 2), tmp_path / "best.ckpt")
    save_state(state, tmp_path / "last.ckpt", start=2)
    return tmp_path


def test_both_files_say_trial_start_epoch_and_configuration(folder: Path) -> None:
    expected = Identity(3, 2, 1 / 3, config_digest(LORA))
    for found in (read_weights(folder / "best.ckpt"), read_state(folder / "last.ckpt").weights):
        assert found.identity == expected
        assert found.sha256 == stored_digest(found.path)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("owner", "said"),
    [
        (Owner(trial=3), None),
        (Owner(trial=3, config=LORA), None),
        (Owner(trial=1), "is a checkpoint of trial 3, of epoch 0.333333, not of trial 1"),
        (Owner(trial=3, config=OTHER), "of another configuration than that of trial 3"),
        (Owner(trial=3, config=LORA, sha256="0" * 64), "is not the file that the record names"),
    ],
)
def test_a_checkpoint_of_another_owner_is_refused(folder: Path, owner: Owner, said: str | None) -> None:
    for name in ("best.ckpt", "last.ckpt"):
        if said is None:
            read_weights(folder / name, owner)
            continue
        with pytest.raises(CheckpointError, match=said):
            read_weights(folder / name, owner)


def test_the_recorded_file_is_that_of_its_digest(folder: Path) -> None:
    digest = stored_digest(folder / "best.ckpt")
    read_weights(folder / "best.ckpt", Owner(trial=3, config=LORA, sha256=digest))
    assert digest != stored_digest(folder / "last.ckpt")
    assert stored_digest(folder / "none.ckpt") is None


def test_a_file_of_before_does_not_say_whose_it_is_and_is_read(
    folder: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, kept = torch.save, {"identity"}

    def without_identity(held: dict[str, object], *more: object) -> None:
        save({name: value for name, value in held.items() if name not in kept}, *more)

    monkeypatch.setattr("trainables.training.checkpoint.torch.save", without_identity)
    save_weights(engine.start(LORA, number=3), folder / "before.ckpt")
    found = read_weights(folder / "before.ckpt", Owner(trial=1, config=OTHER))
    assert found.identity is None
    assert found.config == LORA


def test_a_digest_does_not_change_with_settings_that_have_their_defaults() -> None:
    same = config(
        f'{{"adapter": "lora", "epochs": 2, "batch_size": 8, "learning_rate": {LORA.learning_rate}}}'
    )
    assert config_digest(same) == config_digest(LORA) != config_digest(OTHER)


def test_nothing_is_written_once_the_trial_has_started_elsewhere(folder: Path, engine: Engine) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(StaleStartError, match="started again elsewhere"):
        save_state(engine.start(LORA, number=3), folder / "last.ckpt", start=1, ours=lambda: False)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
