"""The weights of classes in the loss as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from trainables.errors import ModelError
from trainables.specs.metric_class import no_weights, weight_error
from trainables.specs.trial import TrialConfig


def loss_weights(config: TrialConfig, classes: Sequence[str], device: torch.device) -> Tensor | None:
    """(classes,) float32: the weight of each class in the loss; None if none is set.

    Raises ModelError for a class that the data do not have.
    """
    if not config.loss_weights:
        return None
    if (error := weight_error(config.loss_weights, classes)) is not None:
        raise ModelError(f"loss_weights: {error}")
    return torch.tensor([config.loss_weights.get(name, 1.0) for name in classes], device=device)


class Labelled(Protocol):
    """A detector whose labels stand for the data's classes."""

    @property
    def model(self) -> Any:
        """The model."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """The data's classes."""
        ...

    @property
    def ids(self) -> Tensor | None:
        """(classes,) the label of each class; None if a new head has the classes."""
        ...

    @property
    def labels(self) -> tuple[str, ...]:
        """The checkpoint's labels."""
        ...

    @property
    def own_loss(self) -> object | None:
        """The loss that transformers computes; None for one that knows weights."""
        ...


def label_weights(task: Labelled, config: TrialConfig) -> Tensor | None:
    """(labels,) float32: the weights by the checkpoint's labels, 1 for those that no class has; None if none.

    Raises ModelError for a class that the data do not have, and for a loss that knows no weights.
    """
    if config.loss_weights and task.own_loss is not None:
        raise ModelError(f"loss_weights: {no_weights(task.model.config.model_type)}")
    weights = loss_weights(config, task.classes, next(task.model.parameters()).device)
    if weights is None or task.ids is None:
        return weights
    return weights.new_ones(len(task.labels)).index_put((task.ids,), weights)
