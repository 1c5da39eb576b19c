"""Every kind of segmenter with every adapter and way of freezing, through one contract.

Two steps move exactly what should train; a checkpoint goes on to the bit; what is exported loads in
transformers and peft, with the same outputs. A few cases run always, a sample in which every kind meets every
adapter and every way of freezing with `slow`, and the whole matrix with `exhaustive`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from segmenters import EVERY, FEW, PAIRWISE, SAVED, Case, settings
from torch import Tensor

from tests.support.contracts import (
    MODES,
    PAIRS,
    check_goes_on,
    check_moved,
    trained_model,
    validation_batch,
    values,
)
from trainables.export.card_facts import Card
from trainables.export.use import load
from trainables.export.write import export_model
from trainables.specs.adapters import Adapter
from trainables.tasks.base import pixels
from trainables.tasks.segmenters.own_heads import OwnHeadTask
from trainables.training.engine import Engine
from trainables.training.state import TrialState

EngineFor = Callable[[str], Engine]


def _named(case: Case) -> str:
    return "-".join(case)


def test_the_sets_of_cases_are_whole() -> None:
    assert len(EVERY) == len(SAVED) * len(PAIRS) == len(set(EVERY))
    assert {kind for kind, *_ in FEW} == set(SAVED)
    assert {adapter for _, adapter, _ in FEW} == set(Adapter)
    for place, found in ((1, set(Adapter)), (2, set(MODES))):
        met = {(case[0], case[place]) for case in PAIRWISE}
        assert met == {(kind, value) for kind in SAVED for value in found}
    assert len(PAIRWISE) < len(EVERY) / 3


@pytest.mark.parametrize("case", FEW, ids=_named)
def test_contract(engine_for: EngineFor, tmp_path: Path, case: Case) -> None:
    check(engine_for, tmp_path, *case)


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in PAIRWISE if case not in FEW], ids=_named)
def test_contract_of_pairs(engine_for: EngineFor, tmp_path: Path, case: Case) -> None:
    check(engine_for, tmp_path, *case)


@pytest.mark.exhaustive
@pytest.mark.parametrize("case", [case for case in EVERY if case not in {*PAIRWISE, *FEW}], ids=_named)
def test_contract_of_the_rest(engine_for: EngineFor, tmp_path: Path, case: Case) -> None:
    check(engine_for, tmp_path, *case)


def check(engine_for: EngineFor, folder: Path, kind: str, adapter: Adapter, mode: str) -> None:
    engine = engine_for(kind)
    state = engine.start(settings(adapter, mode))
    before = values(state)
    list(engine.advance([state], steps=2))
    assert state.step == 2
    check_moved(state, before, epoch=0)
    if mode == "unfreeze_at":
        for _ in range(2):  # in the first, what is behind weights of 0 has no gradient yet
            list(engine.advance([state], steps=1))
        check_moved(state, before, epoch=1)
    check_goes_on(engine, state, folder / "state.ckpt")
    _check_export(engine, state, folder / "export")


def _check_export(engine: Engine, state: TrialState, to: Path) -> None:
    export_model(trained_model(engine, state), to, merge=False, card=Card("a segmenter"))
    images = pixels(validation_batch(engine), engine.task.scale)
    with torch.inference_mode():
        found: Any = load(to, local_files_only=True)(pixel_values=images)
        expected = scores(engine.task, state.model, images)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)


def scores(task: Any, model: Any, images: Tensor) -> Tensor:
    """(B, classes, H, W)."""
    found: Tensor = task.class_scores(model, images) if isinstance(task, OwnHeadTask) else model(images)
    return found
