"""Packed steps and kept features give the numbers of a trial alone, or do not apply."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from saved_models import VITS, save_own_head, save_vit
from segmenters import engine, slow_but

from tests.trainables.conftest import report_values, run
from trainables.packing.pack import PackEngine
from trainables.specs.report import Report
from trainables.specs.trial import TrialConfig
from trainables.training.engine import Engine

EngineFor = Callable[[str], Engine]
LORA = {"adapter": "lora", "epochs": 2, "batch_size": 4}


def _trial(**changes: Any) -> TrialConfig:
    return TrialConfig.model_validate_json(json.dumps(LORA | changes))


@pytest.mark.parametrize("kind", slow_but(("dinov3_vit", "siglip_vision_model"), VITS))
def test_trials_in_a_pack_are_those_trained_alone(engine_for: EngineFor, kind: str) -> None:
    made = engine_for(kind)
    asked = [_trial(lora={"rank": 4, "dropout": 0.2}), _trial(lora={"rank": 9}, seed=3, learning_rate=5e-3)]
    alone = [made.start(each) for each in asked]
    expected = [run(made, state) for state in alone]
    pack, together = PackEngine(made), [made.start(each) for each in asked]
    reports: list[list[Report]] = [[] for _ in together]
    while any(not state.done for state in together):
        for state, found in pack.advance(together):
            assert isinstance(found, Report), found
            reports[together.index(state)].append(found)
    assert set(pack.trusted.values()) == {True}
    for one, other, had, has in zip(alone, together, expected, reports, strict=True):
        assert [report.lanes for report in has] == [2, 2]
        for name, parameter in (one.parts.adapter | one.parts.head).items():
            mine = other.model.get_parameter(name)
            torch.testing.assert_close(mine, parameter, rtol=0, atol=1e-4)
        for mine, its in zip(has, had, strict=True):
            assert mine.metrics["loss"] == pytest.approx(its.metrics["loss"], abs=1e-4)


@pytest.mark.parametrize("kind", slow_but(("dinov3_vit", "siglip_vision_model"), VITS))
def test_numbers_do_not_depend_on_kept_features(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("ADAPTERTUNE_CACHE", str(tmp_path / "cache"))
    folder = save_vit(tmp_path / "model", kind)
    asked = _trial(blocks=[-1, -1])
    plain, *cached = [_outcome(engine(folder, gb=gb), asked) for gb in (0.0, 1.0, 1.0)]
    kept = list((tmp_path / "cache" / "features").glob("*.features"))
    assert len(kept) == 2, "of training and of validation images"
    assert cached == [plain, plain]


@pytest.mark.parametrize("kind", ["segformer", "eomt"])
def test_models_with_their_own_heads_have_the_same_numbers_with_and_without_a_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("ADAPTERTUNE_CACHE", str(tmp_path / "cache"))
    folder = save_own_head(tmp_path / "model", kind)
    for blocks in ([1, 1], [-1, -1]):
        asked = _trial(blocks=blocks)
        plain, *cached = [_outcome(engine(folder, gb=gb), asked) for gb in (0.0, 1.0)]
        assert cached == [plain]
    assert not list((tmp_path / "cache" / "features").glob("*.features"))


def _outcome(made: Engine, asked: TrialConfig) -> Any:
    state = made.start(asked)
    reports = report_values(run(made, state))
    return reports, {name: p.tolist() for name, p in state.parts.adapter.items()}
