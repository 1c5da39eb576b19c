"""Training images that pass through a model before training, for initial weights computed from them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from trainables.data.loader import NOTHING, Batch, train_batches
from trainables.data.prepared import PreparedSplit
from trainables.specs.trial import TrialConfig
from trainables.tasks.base import TaskModel

BATCH = 8
"""Images in a batch, whatever the trial's batch size, so that trials that differ in it start alike."""


@dataclass(frozen=True)
class TrainingProbe:
    """A trial's training images without augmentation, in the order that its seed gives (`adapters.Probe`).

    The last, smaller batch is left out, unless it is the only one.
    """

    task: TaskModel
    split: PreparedSplit
    config: TrialConfig
    device: torch.device

    @property
    def batches(self) -> int:
        """The number of batches, at least 1."""
        return max(1, len(self.split) // BATCH)

    @property
    def images(self) -> int:
        """The number of training images."""
        return len(self.split)

    def forward(self, model: nn.Module, number: int) -> None:
        """One batch through the model, in float32."""
        with torch.no_grad():
            self.task.outputs(model, self._batch(number))

    def backward(self, model: nn.Module, number: int) -> None:
        """One batch through the model, and its mean loss back, in float32."""
        self.task.loss(model, self._batch(number), self.config).backward()  # type: ignore[no-untyped-call]

    def _batch(self, number: int) -> Batch:
        batches = train_batches(self.split, epoch=0, seed=self.config.seed, batch_size=BATCH, augment=NOTHING)
        return batches[number].to(self.device)
