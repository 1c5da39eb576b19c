"""A trial that ran under earlier rules is rebuilt and goes on, although a new one would be refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from trainables.adapters import inject
from trainables.adapters.family import Kept
from trainables.adapters.registry import FAMILIES
from trainables.errors import AdapterError
from trainables.inference.trained_model import load_trained
from trainables.specs.adapters import Adapter
from trainables.specs.trial import TrialConfig
from trainables.specs.workload import Task
from trainables.training.checkpoint import read_state, restore_state, save_state
from trainables.training.engine import Engine

EngineOf = Callable[[Task], Engine]
LAYER = "backbone.layers.0.attention.q_proj"


def settings(method: str, **arguments: Any) -> TrialConfig:
    peft = {"method": method, "arguments": arguments}
    return TrialConfig.model_validate(
        {"adapter": "peft", "peft": peft, "epochs": 2, "batch_size": 4}, strict=False
    )


@pytest.mark.parametrize(
    "config",
    [
        settings("HIRA", rank_pattern={"nowhere": 8}),
        settings("LORA", rank_pattern={"nowhere": 8}),
        settings("LORA", use_rslora="false"),
        settings("LORA", qalora_group_size=8),
    ],
    ids=["an argument that does nothing", "a key without a layer", "text for a flag", "an unused argument"],
)
def test_what_a_new_trial_is_refused_for_does_not_stop_one_that_has_run(
    engine_of: EngineOf, monkeypatch: pytest.MonkeyPatch, config: TrialConfig
) -> None:
    engine = engine_of(Task.SEGMENTATION)
    with pytest.raises(AdapterError):
        engine.start(config)
    rebuilt = engine.start(config, kept=Kept({}, frozenset()))
    assert rebuilt.parts.adapter


def test_an_audit_that_refuses_does_not_stop_one_that_has_run(
    engine_of: EngineOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(Task.SEGMENTATION)
    monkeypatch.setattr(engine, "_audited", {})
    monkeypatch.setattr("trainables.adapters.rules.RULES", {})
    config = settings("PVERA", sample_at_inference=True)
    with pytest.raises(Exception, match="random in evaluation"):
        engine.start(config)
    assert engine.start(config, kept=Kept({}, frozenset())).still == ()


def test_lily_of_before_keeps_weights_of_its_own_in_each_layer(
    engine_of: EngineOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, config = engine_of(Task.SEGMENTATION), settings("LILY", r=4, stride_A=2, num_B=2)
    shared = {id(p) for n, p in engine.start(config).model.named_parameters() if ".lily_" in n}
    apart = dataclasses.replace(FAMILIES[Adapter.PEFT], after_injection=lambda *_: None)
    with monkeypatch.context() as before:
        before.setitem(inject.FAMILIES, Adapter.PEFT, apart)  # type: ignore[arg-type]
        before.setattr(engine, "_audited", {})
        state = engine.start(config)
    own = [n for n, _ in state.model.named_parameters() if ".lily_" in n]
    assert len(own) > len(shared)
    list(engine.advance([state], steps=2))
    save_state(state, tmp_path / "last.ckpt")
    saved = read_state(tmp_path / "last.ckpt")
    again = engine.start(config, kept=saved.weights.kept)
    restore_state(again, saved)
    for each in (state, again):
        list(engine.advance([each], steps=2))
    weights = dict(again.model.named_parameters())
    assert all(torch.equal(p, weights[n]) for n, p in state.model.named_parameters())
    save_state(state, tmp_path / "best.ckpt")
    assert load_trained(engine.workload, tmp_path / "best.ckpt", device="cpu")
