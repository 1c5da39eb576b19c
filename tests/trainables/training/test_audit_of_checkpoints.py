"""The gradient audit on other architectures than the embedded ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import Dinov2Config, Dinov2Model, ViTImageProcessor

from tests.support.saved_detectors import save_detector
from tests.trainables.conftest import config
from trainables.preparation import prepare_workload
from trainables.specs.workload import Task, Workload
from trainables.training.engine import Engine
from trainables.training.gradient_audit import grouped
from trainables.training.state import TrialState


def engine_for(task: Task, folder: Path, side: int) -> Engine:
    asked = {
        "task": task,
        "model": {"name": str(folder), "image_size": [side, side], "new_head": True},
        "objective": {"metric": "loss"},
        "data": {"embedded": {"domain": "inverted", "train": 12, "validation": 4, "test": 2}},
    }
    workload = Workload.model_validate_json(json.dumps(asked))
    return Engine(workload, prepare_workload(workload), device="cpu")


def unmoved(engine: Engine, state: TrialState) -> set[str]:
    """What three steps leave as it is, of what is set to train."""
    trained = {**state.parts.adapter, **state.parts.head, **state.parts.movable(state.config)}
    before = {name: p.detach().clone() for name, p in trained.items()}
    list(engine.advance([state], steps=3))
    return {name for name, p in trained.items() if torch.equal(p, before[name])}


@pytest.mark.parametrize(
    ("kind", "some"),
    [
        ("detr", True),
        ("conditional_detr", True),
        ("deformable_detr, refined", False),
        ("deformable_detr, two-stage", False),
        ("rt_detr", False),
        ("rt_detr_v2", False),
        ("lw_detr", False),
    ],
)
def test_what_is_named_is_what_does_not_move(tmp_path: Path, kind: str, some: bool) -> None:
    """DETR's queries start at 0 and are the first decoder layer's input: some of its weights never train."""
    engine = engine_for(Task.DETECTION, save_detector(tmp_path / "base", kind), 64)
    asked = {
        "adapter": "lora",
        "targets": ["value"],
        "freezing": "unfrozen",
        "weight_decay": 0.0,
        "epochs": 2,
    }
    state = engine.start(config(json.dumps({**asked, "batch_size": 4})))
    assert set(state.still) == unmoved(engine, state)
    assert bool(state.still) == some
    assert all(name.startswith("model.decoder.layers.0.") for name in state.still)


def test_a_token_that_only_pretraining_uses_is_named(tmp_path: Path) -> None:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    Dinov2Model(Dinov2Config(**sizes, image_size=56, patch_size=14)).save_pretrained(tmp_path / "base")
    ViTImageProcessor(size={"height": 56, "width": 56}).save_pretrained(tmp_path / "base")
    engine = engine_for(Task.SEGMENTATION, tmp_path / "base", 56)
    state = engine.start(config('{"adapter": "none", "freezing": "full", "epochs": 1, "weight_decay": 0.0}'))
    assert grouped(state.still) == ["backbone.embeddings.mask_token"]
    assert set(state.still) == unmoved(engine, state)
