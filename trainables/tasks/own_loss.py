"""The losses that transformers computes itself: of RT-DETR, D-FINE, DEIMv2, LW-DETR and their kin.

These models call their loss function with all that their decoder gives. A model of a worker has a function in
its place that keeps these inputs; the loss is then computed from those of the images that belong together,
in float32, by the function of transformers.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from trainables.tasks.random_points import same_points

Inputs = dict[str, Any]
"""The arguments of a loss function of transformers by name, without labels and config."""
NO_BOXES = "must be in [x0, y0, x1, y1] (corner) format"
"""The error of transformers for boxes whose far sides come before the near ones."""
_GIVEN = ("labels", "device", "config")


class KeptInputs(dict[str, Any]):
    """The inputs of a loss, in the place of the terms of the loss in a model's output."""


@dataclass(frozen=True)
class OwnLoss:
    """A model's loss.

    function: of transformers, which has `labels` and `config` among its arguments.
    level_first: the names of the inputs (levels, images, …); all others begin with the images. A list holds
    a tensor for each level.
    groups: whether training has several groups of queries (Chen 2023, Group DETR), of which evaluation
    has one. The loss of transformers 5.24 counts on all of them also in evaluation.
    draws: whether it is computed at random points, from torch's global generator; in an evaluation they are
    the same in every group of images.
    """

    function: Callable[..., Any]
    config: Any
    level_first: frozenset[str] = frozenset()
    groups: bool = False
    draws: bool = False

    def keep_inputs(self, *args: Any, **kwargs: Any) -> tuple[None, KeptInputs, None]:
        """Take the place of a model's loss function."""
        bound = inspect.signature(self.function).bind(*args, **kwargs).arguments
        unnamed = bound.pop("kwargs", {})
        given = {name: value for name, value in {**bound, **unnamed}.items() if name not in _GIVEN}
        return None, KeptInputs(given), None

    def of(
        self, inputs: Mapping[str, Any], targets: Sequence[dict[str, Tensor]], *, training: bool
    ) -> Tensor:
        """() float32: the loss of the images that `inputs` and `targets` are of, in one order.

        NaN, as of a model that has diverged, where transformers raises an error: for inputs that are not
        finite, and for boxes whose sides have changed places, which D-FINE's distances can give.
        """
        device = inputs["logits"].device
        config = self.config
        if self.groups and not training:
            config = copy.copy(config)
            config.group_detr = 1
        fixed = same_points(device) if self.draws and not training else nullcontext()
        with fixed, torch.autocast(device.type, enabled=False):
            floats = {name: _in_float32(value) for name, value in inputs.items()}
            if not all(_is_finite(value) for value in floats.values()):
                return _nothing(floats)
            try:
                found = self.function(**floats, labels=list(targets), device=device, config=config)[0]
            except ValueError as error:
                if NO_BOXES not in str(error):
                    raise
                return _nothing(floats)
        loss: Tensor = found
        return loss

    def by_image(self, inputs: Mapping[str, Any], images: int) -> list[Inputs]:
        """The inputs of each image, in evaluation."""
        return [
            {name: self._some(name, value, slice(image, image + 1)) for name, value in inputs.items()}
            for image in range(images)
        ]

    def joined(self, inputs: Sequence[Mapping[str, Any]]) -> Inputs:
        """The inputs of images that were apart."""
        found: Inputs = {}
        for name, first in inputs[0].items():
            if isinstance(first, Tensor):
                axis = 1 if name in self.level_first else 0
                found[name] = torch.cat([one[name] for one in inputs], dim=axis)
            elif isinstance(first, list):
                found[name] = [torch.cat(level) for level in zip(*(one[name] for one in inputs), strict=True)]
            else:
                found[name] = first
        return found

    def _some(self, name: str, value: Any, rows: slice) -> Any:
        if isinstance(value, list):
            return [level[rows] for level in value]
        if not isinstance(value, Tensor):
            return value
        return value[:, rows] if name in self.level_first else value[rows]


def _nothing(inputs: Inputs) -> Tensor:
    found: Tensor = inputs["logits"].sum() * math.nan
    return found


def _in_float32(value: Any) -> Any:
    if isinstance(value, list):
        return [_in_float32(level) for level in value]
    return value.float() if _is_float(value) else value


def _is_float(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _is_finite(value: Any) -> bool:
    if isinstance(value, list):
        return all(_is_finite(level) for level in value)
    return not _is_float(value) or bool(torch.isfinite(value).all())


class GroupedOwnLoss:
    """The mean loss over images in evaluation, computed in groups of a size that no batch changes."""

    def __init__(self, loss: OwnLoss, *, size: int) -> None:
        """size: of a group, in images."""
        self._loss, self._size = loss, size
        self._waiting: list[tuple[Inputs, dict[str, Tensor]]] = []
        self._total, self._images = 0.0, 0

    def add(self, inputs: Inputs, target: dict[str, Tensor]) -> None:
        """Add one image."""
        self._waiting.append((inputs, target))
        if len(self._waiting) == self._size:
            self._take()

    def mean(self) -> float:
        """The mean over all images."""
        if self._waiting:
            self._take()
        return self._total / self._images

    def _take(self) -> None:
        inputs, targets = zip(*self._waiting, strict=True)
        self._total += float(self._loss.of(self._loss.joined(inputs), targets, training=False)) * len(targets)
        self._images += len(targets)
        self._waiting = []


def with_empty_batches(function: Callable[..., Any]) -> Callable[..., Any]:
    """A loss of boxes and masks that is a number also for images without a single object.

    transformers 5.24 gives the terms of masks the shape of no mask then, (0, height, width), so that their
    sum with the other terms is empty. The terms of classes are all that is left.
    """

    @wraps(function)
    def loss(**inputs: Any) -> Any:
        found, terms, levels = function(**inputs)
        if found.dim() == 0:
            return found, terms, levels
        config = inputs["config"]
        names = {"loss_ce"}
        if config.auxiliary_loss:
            names |= {name for name in terms if name.startswith("loss_ce_")}
        total = sum(terms[name] for name in sorted(names)) * config.class_loss_coefficient
        return total, terms, levels

    return loss
