"""Initial weights from training images, through the engine, a worker's restore, and an export."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from exporting import outputs

from trainables.backbones import EMBEDDED
from trainables.data.loader import eval_batches
from trainables.export.card_facts import Card
from trainables.export.use import load
from trainables.export.write import export_model
from trainables.inference.trained_model import load_trained
from trainables.specs.data import Split
from trainables.specs.trial import TrialConfig
from trainables.specs.workload import Task
from trainables.training.checkpoint import read_state, restore_state, save_state
from trainables.training.engine import Engine
from trainables.training.initial_look import TrainingProbe
from trainables.training.state import TrialState

EngineOf = Callable[[Task], Engine]
TRIALS: dict[str, dict[str, Any]] = {
    "eva": {"adapter": "lora", "lora": {"rank": 4, "init": "eva", "rslora": True}},
    "lora_ga": {"adapter": "lora", "lora": {"rank": 4, "init": "lora_ga"}},
    "peft eva": {
        "adapter": "peft",
        "peft": {
            "method": "LORA",
            "arguments": {"r": 3, "init_lora_weights": "eva", "eva_config": {"rho": 3.0, "whiten": True}},
        },
        "targets": ["query", "mlp"],
    },
    "peft lora_ga": {
        "adapter": "peft",
        "peft": {
            "method": "LORA",
            "arguments": {"init_lora_weights": "lora_ga", "lora_ga_config": {"direction": "random"}},
        },
        "freezing": "unfrozen",
    },
}


def trial(name: str, **fields: Any) -> TrialConfig:
    return TrialConfig.model_validate_json(
        json.dumps({"epochs": 2, "batch_size": 4, "learning_rate": 0.01, **TRIALS[name], **fields})
    )


def validated(engine: Engine, state: TrialState) -> torch.Tensor:
    batch = eval_batches(engine.data.splits[Split.VALIDATION], batch_size=4)[0]
    with torch.no_grad():
        return engine.task.outputs(state.model.eval(), batch)


@pytest.mark.parametrize("task", list(EMBEDDED))
@pytest.mark.parametrize("name", TRIALS)
def test_it_is_a_function_of_the_seed_and_resumes_to_the_bit(
    engine_of: EngineOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: Task, name: str
) -> None:
    engine, asked = engine_of(task), trial(name)
    state, same, plain = engine.start(asked), engine.start(asked), engine.start(trial(name, seed=1))
    own = dict(state.model.named_parameters())
    assert all(torch.equal(p, own[n]) for n, p in same.model.named_parameters())
    assert not all(p.shape == own[n].shape and torch.equal(p, own[n]) for n, p in plain.parts.adapter.items())
    list(engine.advance([state], steps=2))
    save_state(state, tmp_path / "last.ckpt")

    def computed_again(*_: Any) -> None:
        raise AssertionError("a restored trial looked at the training images again")

    monkeypatch.setattr(TrainingProbe, "forward", computed_again)
    monkeypatch.setattr(TrainingProbe, "backward", computed_again)
    saved = read_state(tmp_path / "last.ckpt")
    again = engine.start(asked, kept=saved.weights.kept)
    restore_state(again, saved)
    assert torch.equal(validated(engine, again), validated(engine, state))
    for each in (state, again):
        list(engine.advance([each], steps=2))
    assert torch.equal(validated(engine, again), validated(engine, state))


@pytest.mark.parametrize("merge", [False, True])
@pytest.mark.parametrize(
    ("task", "name"),
    [
        (Task.DETECTION, "peft eva"),
        (Task.DETECTION, "lora_ga"),
        (Task.SEGMENTATION, "eva"),
        (Task.SEGMENTATION, "peft lora_ga"),
    ],
)
def test_it_leaves_as_an_adapter_and_merged(
    engine_of: EngineOf, tmp_path: Path, task: Task, name: str, merge: bool
) -> None:
    engine = engine_of(task)
    state = engine.start(trial(name, freezing="frozen"))
    list(engine.advance([state], steps=3))
    save_state(state, tmp_path / "best.ckpt")
    images = engine.task.scale(eval_batches(engine.data.splits[Split.VALIDATION], batch_size=4)[0].images)
    expected = outputs(state.model.eval(), images)
    model = load_trained(engine.workload, tmp_path / "best.ckpt", device="cpu")
    assert torch.equal(outputs(model.model, images), expected)
    result = export_model(model, tmp_path / "out", merge=merge, card=Card("x"))
    torch.testing.assert_close(outputs(load(result.folder), images), expected, rtol=0, atol=5e-5)


def test_it_does_not_depend_on_the_batch_size_or_on_augmentation(engine_of: EngineOf) -> None:
    engine = engine_of(Task.SEGMENTATION)
    starts = [
        engine.start(trial("lora_ga", batch_size=size, augment=augment)).parts.adapter
        for size, augment in ((4, {}), (2, {"horizontal_flip": 1.0}))
    ]
    assert all(torch.equal(p, starts[1][n]) for n, p in starts[0].items())
