"""A trained model, rebuilt from its checkpoint alone: for evaluation, prediction and export."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from trainables.adapters.inject import Adapted
from trainables.models.build import build_model
from trainables.models.freezing import Parts
from trainables.specs.owner import Owner
from trainables.specs.trial import TrialConfig
from trainables.specs.workload import Workload
from trainables.storage_paths import Place
from trainables.tasks.base import TaskModel
from trainables.tasks.registry import load_task
from trainables.training.checkpoint import Weights, load_weights, read_weights


@dataclass(frozen=True)
class TrainedModel:
    """A model in evaluation mode, and the parts that it was built from.

    task: the unmodified backbone.  adapted: its adapter, `none` for the pretrained baseline.
    """

    workload: Workload
    config: TrialConfig
    classes: tuple[str, ...]
    task: TaskModel
    model: nn.Module
    adapted: Adapted
    parts: Parts

    @property
    def device(self) -> torch.device:
        """The device of the model."""
        return next(self.model.parameters()).device


def load_trained(
    workload: Workload, weights: Place, *, device: str | None = None, owner: Owner | None = None
) -> TrainedModel:
    """Rebuild a trial's model and load its weights; its data is not needed.

    weights: `best.ckpt` or `last.ckpt`.  device: when absent, a GPU if there is one.  owner: whose they must
    be.

    Raises CheckpointError for a damaged file or a file of another architecture, ModelError.
    """
    held = read_weights(weights, owner)
    return rebuild_model(workload, load_task(workload, held.classes, _device(device)), held)


def rebuild_model(workload: Workload, task: TaskModel, held: Weights) -> TrainedModel:
    """The model of a checkpoint on `task`'s backbone. Raises CheckpointError, AdapterError."""
    built = build_model(task, held.config, total_steps=held.total_steps, start=held.kept)
    load_weights(built.model, built.adapted, held)
    return TrainedModel(workload, held.config, held.classes, task, built.model, built.adapted, built.parts)


def load_baseline(workload: Workload, classes: tuple[str, ...], *, device: str | None = None) -> TrainedModel:
    """Load the pretrained baseline; a head that the checkpoint lacks is new, see `task.fresh_head`."""

    config = TrialConfig.model_validate_json('{"adapter": "none"}')
    task = load_task(workload, classes, _device(device))
    torch.default_generator.manual_seed(0)
    built = build_model(task, config, total_steps=0)
    return TrainedModel(workload, config, classes, task, built.model, built.adapted, built.parts)


def _device(asked: str | None) -> torch.device:
    return torch.device(asked or ("cuda" if torch.cuda.is_available() else "cpu"))
