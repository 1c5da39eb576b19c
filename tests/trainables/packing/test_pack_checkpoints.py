"""Checkpoints of trials in a pack: those of trials alone, and continued to the bit in another pack."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.trainables.packing.test_pack import (
    FAMILIES,
    MIXED,
    advance,
    batches_are_independent,
    difference,
    started,
    trained,
)
from trainables.backbones import EMBEDDED
from trainables.packing.pack import PackEngine
from trainables.specs.workload import Task
from trainables.training.checkpoint import read_state, restore_state, save_state
from trainables.training.engine import Engine
from trainables.training.state import TrialState

EngineOf = Callable[[Task], Engine]
WATCHED = [FAMILIES["lora"][0], FAMILIES["adalora"][0], FAMILIES["lokr"][0]]


def restored(engine: Engine, settings: dict, path: Path) -> TrialState:
    saved = read_state(path)
    state = started(engine, settings)
    restore_state(state, saved)
    return state


@pytest.mark.parametrize("settings", WATCHED, ids=lambda each: each["adapter"])
def test_a_trial_continues_from_a_pack_alone_and_from_alone_in_a_pack(
    engine_of: EngineOf, tmp_path: Path, settings: dict
) -> None:
    engine = engine_of(Task.SEGMENTATION)
    whole = started(engine, settings)
    advance(engine, [whole], 16)
    partner = FAMILIES["lora"][1]

    packed = [started(engine, settings), started(engine, partner)]
    advance(PackEngine(engine), packed, 9)
    save_state(packed[0], tmp_path / "packed.ckpt")
    alone = restored(engine, settings, tmp_path / "packed.ckpt")
    advance(engine, [alone], 7)
    assert difference(trained(whole), trained(alone)) <= 1e-4

    first = started(engine, settings)
    advance(engine, [first], 9)
    save_state(first, tmp_path / "alone.ckpt")
    joined = restored(engine, settings, tmp_path / "alone.ckpt")
    advance(PackEngine(engine), [started(engine, partner), joined], 7)
    assert joined.step == whole.step
    assert difference(trained(whole), trained(joined)) <= 1e-4


@pytest.mark.parametrize("task", list(EMBEDDED))
@pytest.mark.parametrize("settings", WATCHED, ids=lambda each: each["adapter"])
def test_a_trial_is_continued_to_the_bit_beside_other_partners(
    engine_of: EngineOf, tmp_path: Path, settings: dict, task: Task
) -> None:
    engine = engine_of(task)
    uninterrupted = [started(engine, each) for each in (FAMILIES["lora"][1], settings, FAMILIES["loha"][0])]
    advance(PackEngine(engine), uninterrupted, 15)  # beyond the end of an epoch

    before = [started(engine, each) for each in (FAMILIES["lora"][1], settings, FAMILIES["loha"][0])]
    advance(PackEngine(engine), before, 8)
    save_state(before[1], tmp_path / "last.ckpt")
    continued = restored(engine, settings, tmp_path / "last.ckpt")
    others = [started(engine, MIXED[3]), started(engine, FAMILIES["lora"][2])]
    advance(PackEngine(engine), [others[0], continued, others[1]], 7)
    apart = difference(trained(uninterrupted[1]), trained(continued))
    assert apart == 0.0 if batches_are_independent() else apart <= 1e-6
