"""A trial whose job asks for it waits for the disk with each of its checkpoints; another one never does."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from packs import LORA

from tests.trainables.conftest import actor_of, trial_job
from trainables.run_folder import BEST_WEIGHTS, LAST_STATE


@pytest.mark.parametrize("durable", [True, False])
def test_both_checkpoints_are_on_the_disk_before_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, durable: bool
) -> None:
    synced: list[str] = []
    renamed: list[str] = []
    sync, rename = os.fsync, os.replace

    def count(descriptor: int) -> None:
        sync(descriptor)
        synced.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)

    def name(source: Any, target: Any) -> None:
        rename(source, target)
        renamed.append(Path(target).name)

    actor = actor_of(trial_job(tmp_path, LORA.replace("SEED", "0"), durable=durable))
    monkeypatch.setattr(os, "fsync", count)
    monkeypatch.setattr(os, "replace", name)
    while not actor.step()["done"]:
        pass
    actor.cleanup()
    assert {BEST_WEIGHTS, LAST_STATE} == set(renamed)
    for file in (BEST_WEIGHTS, LAST_STATE):
        parts = [each for each in synced if each.startswith(f".{file}.")]
        assert len(parts) == (renamed.count(file) if durable else 0)
    assert synced.count("0000") == (len(renamed) if durable else 0)  # the names, in the trial's folder
