"""The weights of classes in the loss as tensors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from trainables.errors import ModelError
from trainables.specs.metric_class import weight_error
from trainables.specs.trial import TrialConfig
from trainables.tasks.labelled_model import LabelledModel


def loss_weights(config: TrialConfig, classes: Sequence[str], device: torch.device) -> Tensor | None:
    """(classes,) float32: the weight of each class in the loss; None if none is set.

    Raises ModelError for a class that the data do not have.
    """
    if not config.loss_weights:
        return None
    if (error := weight_error(config.loss_weights, classes)) is not None:
        raise ModelError(f"loss_weights: {error}")
    return torch.tensor([config.loss_weights.get(name, 1.0) for name in classes], device=device)


def label_weights(task: LabelledModel, config: TrialConfig) -> Tensor | None:
    """(labels,) float32: the weights by the checkpoint's labels, 1 for those that no class has; None if none.

    Raises ModelError for a class that the data do not have.
    """
    weights = loss_weights(config, task.classes, next(task.model.parameters()).device)
    if weights is None or task.ids is None:
        return weights
    return weights.new_ones(len(task.labels)).index_put((task.ids,), weights)
