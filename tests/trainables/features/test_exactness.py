"""Which models may continue from kept states, and which batches give the same states."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from saved_models import SIDE, save_vit, save_yolos
from torch import Tensor, nn

from tests.support.saved_detectors import KINDS, save_detector
from tests.trainables.features.conftest import engine, trial
from trainables.backbones import EMBEDDED
from trainables.data.loader import batch_of
from trainables.features.exactness import (
    Sample,
    find_prefix,
    is_random_in_training,
    rows_depend_on_place,
    rows_depend_on_size,
)
from trainables.specs.data import Split
from trainables.specs.workload import Task
from trainables.training.engine import Engine

CPU = torch.device("cpu")


def _sample(made: Engine, **settings: Any) -> Sample:
    images = made.data.splits[Split.TRAIN]
    config = trial(adapter="none", **settings)
    return Sample(made.task, config, lambda i: batch_of(images, i), len(images), True, CPU)


def _model(made: Engine) -> nn.Module:
    return made.start(trial(adapter="none")).model


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("task", list(EMBEDDED))
def test_the_embedded_models_are_exact_on_one_thread(task: Task, precision: str) -> None:
    """Rows may depend on the size of a batch, where products of few rows take another library."""
    made = engine(task)
    model, sample = _model(made), _sample(made, precision=precision)
    layout = made.task.layout_in(model)
    for block in range(len(layout.blocks) + 1):
        exact = find_prefix(sample, model, layout.blocks, block)
        assert exact is not None
        assert exact.width == layout.hidden
        assert not is_random_in_training(sample, model, exact.prefix)
        for size in (1, 4, 8, 13, 32):
            assert not rows_depend_on_place(sample, model, exact.prefix, size)
    assert not model.training


@pytest.mark.parametrize("kind", KINDS)
def test_encoder_decoders_are_not_divided(tmp_path: Path, kind: str) -> None:
    """They need their images, or what a backbone made of them, in several places, or divide images."""
    made = engine(
        Task.DETECTION,
        model={"name": str(save_detector(tmp_path / "m", kind)), "image_size": [64, 64], "new_head": True},
    )
    model = _model(made)
    blocks = made.task.layout_in(model).blocks
    for block in (1, len(blocks)):
        assert find_prefix(_sample(made), model, blocks, block) is None
    assert not any("forward" in vars(module) for module in model.modules())


@pytest.mark.parametrize("name", ["hidden_dropout_prob", "attention_probs_dropout_prob"])
def test_dropout_makes_training_random_and_leaves_the_models_generator_alone(
    tmp_path: Path, name: str
) -> None:
    """Attention's own dropout is no module: it shows in the random numbers that are drawn."""
    made = engine(model={"name": str(save_vit(tmp_path / "m", **{name: 0.1}))})
    model = _model(made)
    exact = find_prefix(_sample(made), model, made.task.layout_in(model).blocks, 2)
    assert exact is not None
    before = torch.get_rng_state()
    assert is_random_in_training(_sample(made), model, exact.prefix)
    assert torch.equal(torch.get_rng_state(), before)


def test_drop_path_makes_training_random(tmp_path: Path) -> None:
    made = engine(model={"name": str(save_vit(tmp_path / "m", "dinov2", drop_path_rate=0.3))})
    model = _model(made)
    exact = find_prefix(_sample(made), model, made.task.layout_in(model).blocks, 3)
    assert exact is not None
    assert is_random_in_training(_sample(made), model, exact.prefix)


def test_a_model_whose_outputs_are_not_finite_is_not_divided(tmp_path: Path) -> None:
    made = engine(model={"name": str(save_vit(tmp_path / "m"))})
    model = _model(made)
    blocks = made.task.layout_in(model).blocks
    torch.nn.init.constant_(model.get_parameter(f"{blocks[0]}.layernorm_before.weight"), float("nan"))
    assert find_prefix(_sample(made), model, blocks, 1) is None


def test_a_model_that_looks_at_its_images_again_is_not_divided(tmp_path: Path) -> None:
    made = engine(
        Task.DETECTION,
        model={"name": str(save_yolos(tmp_path / "m")), "new_head": True},
        embedded={"side": SIDE},
    )
    model = _model(made)
    blocks = made.task.layout_in(model).blocks
    assert find_prefix(_sample(made), model, blocks, 1) is not None
    real = model.forward

    def forward(pixel_values: Tensor, **others: Any) -> Any:
        found = real(pixel_values=pixel_values, **others)
        found.logits = found.logits + pixel_values.mean().to(found.logits.device)
        return found

    model.forward = forward
    assert find_prefix(_sample(made), model, blocks, 1) is None


# --- batches ------------------------------------------------------------------------------------


def _changed(made: Engine, change: Callable[[Tensor], Tensor]) -> nn.Module:
    """A model whose first block adds what `change` makes of its input."""
    model = _model(made)
    block = model.get_submodule(made.task.layout_in(model).blocks[0])
    block.register_forward_hook(lambda _module, _args, output: output + change(output))
    return model


def test_routines_that_add_in_another_order_are_recognised() -> None:
    made = engine()
    sample = _sample(made)

    def judged(change: Callable[[Tensor], Tensor]) -> tuple[bool, bool]:
        model = _changed(made, change)
        exact = find_prefix(sample, model, made.task.layout_in(model).blocks, 2)
        assert exact is not None
        return (
            rows_depend_on_size(sample, model, exact.prefix, {4, 8}),
            rows_depend_on_place(sample, model, exact.prefix, 8),
        )

    assert judged(torch.zeros_like) == (False, False)
    assert judged(lambda x: torch.full_like(x, 1e-6 * len(x))) == (True, False)
    places = lambda x: 1e-6 * torch.arange(len(x)).view(-1, 1, 1).expand_as(x)  # noqa: E731
    assert judged(places) == (True, True)
