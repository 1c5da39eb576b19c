from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import ViTConfig, ViTModel, YolosConfig, YolosForObjectDetection

from trainables.adapters.inject import Adapted
from trainables.specs.trial import TrialConfig

torch.set_num_threads(1)
HIDDEN, BLOCKS = 32, 2
SIZES = {
    "hidden_size": HIDDEN,
    "num_hidden_layers": BLOCKS,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}


def build_vit() -> nn.Module:
    torch.manual_seed(0)
    return ViTModel(ViTConfig(**SIZES, image_size=32, patch_size=8), add_pooling_layer=False).eval()


def build_yolos() -> nn.Module:
    torch.manual_seed(0)
    config = YolosConfig(**SIZES, image_size=[32, 32], patch_size=8, num_detection_tokens=5)
    model = YolosForObjectDetection(config).eval()
    for parameter in (model.vit.embeddings.detection_tokens, model.vit.embeddings.position_embeddings):
        nn.init.normal_(parameter, std=0.5)
    return model


@pytest.fixture(scope="session", params=["vit", "yolos"])
def pristine(request: pytest.FixtureRequest) -> nn.Module:
    return build_vit() if request.param == "vit" else build_yolos()


@pytest.fixture(scope="session")
def pristine_vit() -> nn.Module:
    return build_vit()


@pytest.fixture(scope="session")
def images() -> Tensor:
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="session")
def clone() -> Callable[[nn.Module], nn.Module]:
    """A structural clone that shares every parameter, like a model from a task."""
    return lambda model: copy.deepcopy(model, memo={id(p): p for p in model.parameters()})


@pytest.fixture(scope="session")
def output() -> Callable[[nn.Module, Tensor], Tensor]:
    def run(model: nn.Module, x: Tensor) -> Tensor:
        if hasattr(model, "bbox_predictor"):
            return model.vit(x).last_hidden_state
        return model(x).last_hidden_state

    return run


@pytest.fixture(scope="session")
def loss_of(output: Callable[[nn.Module, Tensor], Tensor]) -> Callable[[nn.Module, Tensor], Tensor]:
    """Distance from a fixed random target (layer norm fixes the mean, so a constant target is trivial)."""

    def loss(model: nn.Module, x: Tensor) -> Tensor:
        out = output(model, x)
        target = torch.randn(out.shape, generator=torch.Generator().manual_seed(2))
        return (out - target).square().mean()

    return loss


@pytest.fixture(scope="session")
def losses_of(loss_of: Callable[[nn.Module, Tensor], Tensor]) -> Callable[..., list[float]]:
    """The loss before each of a number of training steps on the same images."""

    def run(
        model: nn.Module,
        adapted: Adapted,
        optimizer: torch.optim.Optimizer,
        images: Tensor,
        *,
        steps: int,
        bf16: bool = False,
    ) -> list[float]:
        losses = []
        for step in range(1, steps + 1):
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
                loss = loss_of(model, images)
            loss.backward()
            optimizer.step()
            adapted.after_step(step)
            optimizer.zero_grad()
            losses.append(loss.item())
        return losses

    return run


@pytest.fixture(scope="session")
def trial() -> Callable[..., TrialConfig]:
    def build(**fields: Any) -> TrialConfig:
        return TrialConfig.model_validate_json(json.dumps(fields))

    return build
