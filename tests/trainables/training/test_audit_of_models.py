"""The gradient audit on small models made to bypass, hide or waste an adapter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import LoraConfig
from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING
from torch import Tensor, nn
from torch.nn import functional

from tests.trainables.conftest import config
from trainables.data.loader import Batch
from trainables.data.prepared import PreparedSplit
from trainables.errors import AdapterError
from trainables.models.freezing import Parts
from trainables.specs.data import Split
from trainables.specs.workload import Task
from trainables.training.engine import Engine
from trainables.training.gradient_audit import TRIES, parameters_without_gradient

WIDTH = 8


class Runs(nn.Module):
    """Runs its layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


class ReadsTheWeight(Runs):
    """Never runs its layer."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.layer.weight, self.layer.bias)


class ReadsTheWeightInEvaluation(Runs):
    """Runs its layer in training only, as torch's fused layers do."""

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) if self.training else functional.linear(x, self.layer.weight, self.layer.bias)


class GivesItNothing(Runs):
    """The layer's input is 0, as in the first decoder layer of DETR."""

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layer(torch.zeros_like(x))


class IsDropped(Runs):
    """In training the layer's result is dropped; a gradient is seen in evaluation mode only."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        return x + 0 * y if self.training else x + y


class Model(nn.Module):
    """Two parts and a head on images' means, (B, 3, H, W) to (B, 1)."""

    def __init__(self, *parts: nn.Module) -> None:
        super().__init__()
        self.stem = nn.Linear(3, WIDTH)
        self.parts = nn.ModuleList(parts)
        self.head = nn.Linear(WIDTH, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x.float().mean((2, 3)) / 255)
        for part in self.parts:
            x = part(x)
        return self.head(x)


class ToyTask:
    """The two methods of a task that the audit calls. gate: a factor of the loss by number of the batch."""

    def __init__(self, gate: Callable[[int], float] = lambda _: 1.0) -> None:
        self.gate, self.batches = gate, 0

    def outputs(self, model: nn.Module, batch: Batch) -> Tensor:
        return model(batch.images)

    def loss(self, model: nn.Module, batch: Batch, asked: Any) -> Tensor:
        self.batches += 1
        head: Tensor = model.head.weight.square().sum()
        return self.gate(self.batches) * model(batch.images).square().mean() + head


@pytest.fixture(scope="module")
def split(engine_of: Callable[[Task], Engine]) -> PreparedSplit:
    return engine_of(Task.SEGMENTATION).data.splits[Split.TRAIN]


def audited(split: PreparedSplit, *parts: nn.Module, task: ToyTask | None = None) -> tuple[str, ...]:
    torch.manual_seed(0)
    model = Model(*parts)
    model.requires_grad_(False)
    head = {f"head.{name}": p for name, p in model.head.named_parameters()}
    peft = LoraConfig(r=2, target_modules=[f"parts.{n}.layer" for n in range(len(parts))])
    PEFT_TYPE_TO_TUNER_MAPPING[peft.peft_type](model, peft, adapter_name="default")
    adapter = {name: p for name, p in model.named_parameters() if ".lora_" in name}
    assert len(adapter) == 2 * len(parts)
    groups = Parts(adapter, head, {}, {}, {}, frozenset(), frozenset(), (), ())
    return parameters_without_gradient(
        task or ToyTask(), model, groups, config('{"adapter": "lora", "batch_size": 4}'), split
    )


def test_a_plain_model_passes(split: PreparedSplit) -> None:
    assert audited(split, Runs(), Runs()) == ()


@pytest.mark.parametrize(
    ("part", "says"),
    [
        (ReadsTheWeight, "no effect on parts.1.layer: the model reads"),
        (ReadsTheWeightInEvaluation, "no effect in evaluation on parts.1.layer: the model reads"),
    ],
)
def test_an_adapter_on_a_layer_that_is_not_run_is_refused(
    split: PreparedSplit, part: type[Runs], says: str
) -> None:
    with pytest.raises(AdapterError, match=says):
        audited(split, Runs(), part())


def test_a_layer_without_input_is_named_and_an_adapter_of_only_such_layers_refused(
    split: PreparedSplit,
) -> None:
    left = audited(split, Runs(), GivesItNothing())
    assert left == ("parts.1.layer.lora_A.default.weight", "parts.1.layer.lora_B.default.weight")
    with pytest.raises(AdapterError, match="'lora' would not train: of its 2 parameters none has a gradient"):
        audited(split, GivesItNothing())


def test_layers_that_are_dropped_in_training_pass(split: PreparedSplit) -> None:
    assert audited(split, Runs(), IsDropped()) == ()


def test_a_gradient_may_be_zero_on_some_batches(split: PreparedSplit) -> None:
    task = ToyTask(lambda batch: 0.0 if batch < TRIES else 1.0)
    assert audited(split, Runs(), task=task) == ()
    assert task.batches == TRIES
    never = ToyTask(lambda batch: 0.0)
    with pytest.raises(AdapterError, match="would not train"):
        audited(split, Runs(), task=never)


def test_a_loss_that_is_not_finite_is_left_to_training(split: PreparedSplit) -> None:
    assert audited(split, Runs(), task=ToyTask(lambda _: float("nan"))) == ()


class Counts(nn.Module):
    """In place of dropout, a module with a number that no checkpoint has."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = {"all": 0}

    def forward(self, x: Tensor) -> Tensor:
        self.calls["all"] += 1
        return x


class IsCounted(Runs):
    def forward(self, x: Tensor) -> Tensor:
        if not isinstance(self.layer.lora_dropout["default"], Counts):
            self.layer.lora_dropout["default"] = Counts()
        return super().forward(x)


def test_state_that_changes_in_training_and_is_in_no_checkpoint_is_refused(split: PreparedSplit) -> None:
    with pytest.raises(AdapterError, match=r"parts\.0\.layer\.lora_dropout\.default\.calls\.all"):
        audited(split, IsCounted())
