"""The interface of a task for the engine, and code that all tasks share.

A worker holds one `TaskModel` with one pretrained backbone, which no trial ever modifies.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from trainables.adapters.layout import Layout
from trainables.data.loader import Batch
from trainables.data.prepared import PreparedSplit
from trainables.data.resize import Resize
from trainables.metrics.results import Keep
from trainables.metrics.rules import MetricRules
from trainables.specs.heads import HeadSource
from trainables.specs.trial import Precision, TrialConfig
from trainables.specs.workload import ModelSpec
from trainables.tasks.stand_in import stand_in_for


class TaskModel(Protocol):
    """A pretrained model with its loss and its metrics; each worker has one, shared by its trials."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The data's classes."""
        ...

    @property
    def layout(self) -> Layout:
        """The layout, with names relative to an assembled model."""
        ...

    @property
    def resize(self) -> Resize:
        """How images are resized before they reach the model."""
        ...

    @property
    def scale(self) -> Scale:
        """How pixels are scaled before they reach the model."""
        ...

    @property
    def rules(self) -> MetricRules:
        """How metrics are computed. A field of a dataclass: `load_task` sets it."""
        ...

    @property
    def fresh_head(self) -> bool:
        """Whether the checkpoint has no head for these classes, so that an untrained model is meaningless."""
        ...

    @property
    def head_fault(self) -> str | None:
        """Why the checkpoint's head does not fit these classes, if that is probably a mistake."""
        ...

    @property
    def packs(self) -> bool:
        """Whether the losses of several trials may be computed in one pass, see `lane_losses`."""
        ...

    def with_head_as_before(self) -> TaskModel:
        """The task with the head that it had by the first definition, see `MEANINGS`."""
        ...

    def head_source(self, config: TrialConfig) -> HeadSource:
        """Where the head of a trial with this configuration comes from."""
        ...

    def assemble(self, config: TrialConfig, *, share: bool) -> nn.Module:
        """A model for one trial without its adapter, in evaluation mode, all parameters without gradients.

        share: use the worker's backbone tensors, which must not be modified; otherwise copy them.
        Each trial has its own head: a copy of the checkpoint's, or a new one drawn
        from torch's global generator. Raises ModelError if `config` does not fit the task.
        """
        ...

    def layout_in(self, model: nn.Module) -> Layout:
        """The layout of an assembled model, with or without an adapter."""
        ...

    def head_names(self, model: nn.Module) -> set[str]:
        """The names of the head's parameters in an assembled model."""
        ...

    def constant_names(self, model: nn.Module) -> frozenset[str]:
        """The names of parameters in an assembled model that never train."""
        ...

    def training_modules(self, model: nn.Module) -> frozenset[str]:
        """The names of modules that stay in training mode in training even if the backbone is frozen.

        They compute something else then, apart from dropout, which the loss needs.
        """
        ...

    def outputs(self, model: nn.Module, batch: Batch) -> Tensor:
        """Raw outputs (images, …) for a batch on the model's device."""
        ...

    def loss(self, model: nn.Module, batch: Batch, config: TrialConfig) -> Tensor:
        """The training loss of a batch on the model's device, float32, a mean over its images.

        Call it inside the autocast context, if there is one; the loss itself is computed in float32.
        """
        ...

    def lane_losses(
        self, model: nn.Module, batches: Sequence[Batch], configs: Sequence[TrialConfig]
    ) -> Tensor:
        """(lanes,) the losses of several trials, each as `loss` gives it, after one forward pass.

        model: computes the outputs for all images, those of a lane after those of the lane before it.
        batches: of each lane, with the same number of images of one padded size.
        """
        ...

    def evaluate(
        self,
        model: nn.Module,
        split: PreparedSplit,
        *,
        batch_size: int,
        device: torch.device,
        precision: Precision,
        config: TrialConfig,
        keep: Keep | None = None,
        choose_threshold: bool = False,
    ) -> dict[str, float]:
        """The metrics of a model in evaluation mode; they do not depend on `batch_size`.

        keep: called with the results of each image, if they are finite.
        choose_threshold: add SCORE_THRESHOLD, for a task with boxes if one of them is right.
        Metrics that are undefined on the split are left out; if outputs are not finite, all are NaN.
        """
        ...


@dataclass(frozen=True)
class RegisteredTask:
    """How a task's models are loaded; `Task.facts` has what is known without them."""

    load: Callable[[ModelSpec, tuple[str, ...], torch.device], TaskModel]
    """Loads a checkpoint for the data's classes. Raises ModelError."""
    resize: Callable[[Any, Any, ModelSpec], Resize]
    """The resize rule from a checkpoint's config and processor. Raises ModelError for another kind."""


@dataclass(frozen=True)
class Scale:
    """The processor's scaling of pixels: (value · factor − mean) / std, per channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    factor: float = 1 / 255

    def __call__(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 -> float32 on the same device."""
        mean, std = (_per_channel(values, images.device) for values in (self.mean, self.std))
        return (images.to(torch.float32) * self.factor).sub_(mean).div_(std)


@lru_cache(maxsize=64)
def _per_channel(values: tuple[float, ...], device: torch.device) -> Tensor:
    """(1, channels, 1, 1); copying it to a GPU for every batch would wait for all that the GPU has to do."""
    with torch.inference_mode(False):  # kept for training, whoever asks first
        return torch.tensor(values, device=device).view(1, -1, 1, 1)


def pixels(batch: Batch, scale: Scale) -> Tensor:
    """A batch's scaled images; padding is 0 after scaling, as in the processors.

    Of a batch with hidden states, images that stand for these.
    """
    if batch.hidden is not None:
        return stand_in_for(batch.images, batch.hidden)
    scaled = scale(batch.images)
    if _is_padded(batch):
        for image, (height, width) in zip(scaled, batch.valid, strict=True):
            image[:, height:] = 0
            image[:, :, width:] = 0
    return scaled


def split_by_size(batch: Batch) -> Iterator[Batch]:
    """Divide the batch into pieces with images of one size, without padding.

    A model without a padding mask sees padding as black background; without padding, an
    image's metrics do not depend on the other images in the batch.
    """
    if not _is_padded(batch):
        yield batch
        return
    height, width = batch.images.shape[-2:]
    for size in dict.fromkeys(batch.valid):
        places = [place for place, valid in enumerate(batch.valid) if valid == size]
        targets = batch.targets
        if targets is not None:
            back = targets[0]["boxes"].new_tensor([width / size[1], height / size[0]] * 2)
            targets = [_within(targets[p], size) | {"boxes": targets[p]["boxes"] * back} for p in places]
        yield Batch(
            images=batch.images[places][..., : size[0], : size[1]],
            valid=[size] * len(places),
            targets=targets,
            masks=None if batch.masks is None else batch.masks[places][..., : size[0], : size[1]],
            indices=[batch.indices[p] for p in places],
        )


def _within(target: dict[str, Tensor], size: tuple[int, int]) -> dict[str, Tensor]:
    """A target with its masks cut to an image of (height, width) `size`."""
    masks = {"masks": target["masks"][:, : size[0], : size[1]]} if "masks" in target else {}
    return target | masks


def _is_padded(batch: Batch) -> bool:
    return any(valid != tuple(batch.images.shape[-2:]) for valid in batch.valid)


def joined(batches: Sequence[Batch]) -> Batch:
    """One batch of all images, in order. batches: all of one padded size, and of one task."""
    first = batches[0]
    if len(batches) == 1:
        return first
    masks = [batch.masks for batch in batches if batch.masks is not None]
    hidden = [batch.hidden for batch in batches if batch.hidden is not None]
    return Batch(
        images=torch.cat([batch.images for batch in batches]),
        valid=[valid for batch in batches for valid in batch.valid],
        targets=None
        if first.targets is None
        else [target for batch in batches for target in batch.targets or ()],
        masks=torch.cat(masks) if masks else None,
        hidden=torch.cat(hidden) if hidden else None,
        indices=[index for batch in batches for index in batch.indices],
    )


def clone_module(module: nn.Module, *, sharing: Iterable[Tensor] = ()) -> nn.Module:
    """A structural copy of `module` that shares the tensors in `sharing` and copies all others."""
    return copy.deepcopy(module, memo={id(tensor): tensor for tensor in sharing})


def tensors_of(module: nn.Module) -> list[Tensor]:
    """All parameters and buffers."""
    return [*module.parameters(), *module.buffers()]


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """bf16 autocast, or a context that does nothing."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision is Precision.BF16)
