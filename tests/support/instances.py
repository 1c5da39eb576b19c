"""Tiny models with a mask for each object, whatever their kind: their data, trials, and what must hold."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.support.contracts import (
    STEADY,
    check_goes_on,
    check_moved,
    config_of,
    scores_of_merged_export,
    trained_model,
    values,
)
from trainables.data.loader import Batch, eval_batches
from trainables.inference.trained_model import TrainedModel
from trainables.preparation import prepare_workload
from trainables.specs.adapters import Adapter
from trainables.specs.data import Split
from trainables.specs.trial import Precision, TrialConfig
from trainables.specs.workload import Workload
from trainables.training.engine import Engine

SIDE = 64
"""Of the images as the models see them; they have 96 pixels."""
CLASSES = tuple(str(digit) for digit in range(10))
PLAIN = TrialConfig.model_validate_json('{"adapter": "none"}')


def workload(folder: Path, train: int = 12) -> Workload:
    """The embedded digits with their masks, for a checkpoint in a folder."""
    asked = {
        "task": "instance_segmentation",
        "model": {"name": str(folder), "image_size": [SIDE, SIDE]},
        "objective": {"metric": "map_50"},
        "data": {"embedded": {"domain": "clean", "train": train, "validation": 4, "test": 3, "side": 96}},
    }
    return Workload.model_validate_json(json.dumps(asked))


@lru_cache(maxsize=2)
def engine_of(folder: Path, train: int = 12) -> Engine:
    """A worker's engine over `workload`."""
    asked = workload(folder, train)
    return Engine(asked, prepare_workload(asked), device="cpu")


def batch_of(folder: Path, labels: int, *, objects: bool = True) -> Batch:
    """Images with digits, the labels being those of the checkpoint; the last image has no object.

    labels: how many the checkpoint has.  objects: whether any image has some.
    """
    batch = eval_batches(engine_of(folder).data.splits[Split.TRAIN], batch_size=4)[0]
    assert batch.targets is not None
    targets = [{**t, "class_labels": t["class_labels"] % labels} for t in batch.targets]
    targets[-1] = _none(targets[-1])
    if not objects:
        targets = [_none(target) for target in targets]
    return Batch(batch.images, batch.valid, targets, None, batch.indices)


def _none(target: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor[:0] for name, tensor in target.items()}


def check_same_training(
    ours: tuple[Tensor, torch.nn.Module], theirs: tuple[Tensor, torch.nn.Module]
) -> dict[str, Tensor]:
    """Two losses are equal, and so are the gradients of their models; the result is those of the first."""
    gradients, expected = (_gradients(*each) for each in (ours, theirs))
    assert ours[0].item() == pytest.approx(theirs[0].item(), rel=1e-6)
    assert gradients.keys() == expected.keys()
    largest = max(float(grad.abs().max()) for grad in expected.values())
    for name, grad in gradients.items():
        assert torch.allclose(grad, expected[name], rtol=1e-5, atol=1e-6 * largest), name
    return gradients


def _gradients(loss: Tensor, model: torch.nn.Module) -> dict[str, Tensor]:
    loss.sum().backward()  # type: ignore[no-untyped-call]
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def check_metrics_of_any_batch(folder: Path) -> None:
    """Metrics are the same with any batch size, and leave torch's generator as it was."""
    engine = engine_of(folder)
    task: Any = engine.task
    torch.manual_seed(0)
    model = task.assemble(PLAIN, share=True)
    state = torch.get_rng_state()
    with torch.inference_mode():
        one, three, low = (
            task.evaluate(
                model, engine.data.splits[Split.TRAIN], batch_size=n, device=engine.device,
                precision=precision, config=PLAIN,
            )
            for n, precision in ((1, Precision.FP32), (3, Precision.FP32), (3, Precision.BF16))
        )  # fmt: skip
    assert torch.equal(torch.get_rng_state(), state)
    assert one == pytest.approx(three, rel=1e-4)
    assert {"map", "map_50", "loss"} <= one.keys()
    assert all(math.isfinite(value) for value in low.values())


def check_contract(folder: Path, tmp_path: Path, adapter: Adapter, mode: str, *, refusal: str) -> None:
    """Two steps move what they should, a saved trial goes on; several lanes are an error with `refusal`."""
    # AdaLoRA soon takes all ranks of some layers, which are then as they were: not within the first steps.
    engine, asked = engine_of(folder), config_of(adapter, mode, **STEADY, epochs=40)
    state = engine.start(asked)
    before = values(state)
    list(engine.advance([state], steps=2))
    check_moved(state, before, epoch=0)
    check_goes_on(engine, state, tmp_path / "state.ckpt")
    with pytest.raises(ValueError, match=refusal):
        engine.task.lane_losses(state.model, [batch_of(folder, len(CLASSES))] * 2, [asked] * 2)


def trained_with(folder: Path, settings: dict[str, Any]) -> TrainedModel:
    """A model after two steps. settings: of its trial."""
    engine = engine_of(folder)
    asked = TrialConfig.model_validate_json(json.dumps({"epochs": 4, "batch_size": 4} | settings))
    state = engine.start(asked)
    list(engine.advance([state], steps=2))
    return trained_model(engine, state)


def check_learns_by_heart(folder: Path, tmp_path: Path, *, epochs: int) -> None:
    """Full training learns eight images by heart, and the merged export scores the same."""
    engine = engine_of(folder, 8)
    settings = {"adapter": "none", "freezing": "full", "batch_size": 8, "learning_rate": 5e-3}
    asked = TrialConfig.model_validate_json(json.dumps(settings | {"epochs": epochs}))
    state = engine.start(asked)
    while not state.done:
        list(engine.advance([state]))
    scored = engine.evaluate(state.model.eval(), asked, Split.TRAIN)
    assert scored["map_50"] >= 0.9
    _, found = scores_of_merged_export(engine, state, tmp_path / "out", Split.TRAIN, batch_size=8)
    assert found["map"] == pytest.approx(scored["map"], abs=1e-4)
