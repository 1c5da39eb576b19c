"""Builds the trainable model of a task and a configuration: backbone, head, adapter, parameter groups."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from trainables.adapters.from_images import Start
from trainables.adapters.inject import Adapted, inject_adapter
from trainables.models.freezing import Base, Parts, apply_freezing, parts_of
from trainables.specs.adapters import TRAINS_BACKBONE
from trainables.specs.trial import TrialConfig
from trainables.tasks.base import TaskModel


@dataclass(frozen=True)
class Built:
    """A model in evaluation mode with its adapter, and `requires_grad` set for epoch 0."""

    model: nn.Module
    adapted: Adapted
    parts: Parts


def build_model(
    task: TaskModel, config: TrialConfig, *, total_steps: int, start: Start | None = None
) -> Built:
    """Assemble the model of `config` on the task's device.

    total_steps: optimizer steps of the trial, for AdaLoRA.  start: training images, or the ranks in a
    checkpoint, for initial weights that are computed from images; None to count parameters.

    Frozen weights are shared with the task; new weights are drawn from torch's global generator.
    Raises AdapterError or ModelError.
    """
    model = task.assemble(config, share=config.mode not in TRAINS_BACKBONE)
    device = next(model.parameters()).device
    whole = task.rules.definitions.frozen >= 2
    base = Base.of(
        model,
        head=task.head_names(model),
        constant=task.constant_names(model),
        training=task.training_modules(model) if whole else None,
    )
    model.to(device)  # a new head; images may pass through it before the adapter is injected
    adapted = inject_adapter(model, config, task.layout_in(model), total_steps=total_steps, start=start)
    model.to(device)
    parts = parts_of(model, base, task.layout_in(model))
    apply_freezing(parts, config, epoch=0.0)
    model.eval()
    return Built(model, adapted, parts)
