"""A trial's state is data: trained weights, optimizer, schedule, position.

It has no random-number state: before each optimizer step the engine seeds torch from
(seed, step), and the loader draws order and augmentation from (seed, epoch, image), so that a
trial is a function of its configuration and position, whatever other trials train alongside it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import nn

from trainables.adapters.inject import Adapted
from trainables.features.trial_features import TrialFeatures
from trainables.models.freezing import Parts
from trainables.specs.trial import TrialConfig
from trainables.specs.workload import Direction, ValueRule
from trainables.training.lr_schedule import Plateau
from trainables.training.optimizer import Mover


@dataclass(frozen=True)
class Pace:
    """The numbers of batches and optimizer steps in an epoch, and the steps with reports."""

    batches_per_epoch: int
    steps_per_epoch: int
    total_steps: int
    reports_per_epoch: int

    @classmethod
    def of(cls, config: TrialConfig, images: int) -> Pace:
        """The pace over `images` training images; the last, smaller batch of an epoch is included."""
        batches = -(-images // config.batch_size)
        steps = -(-batches // config.accumulate)
        return cls(batches, steps, steps * config.epochs, min(config.reports_per_epoch, steps))

    def epoch_of(self, step: int) -> float:
        """The epoch after `step` optimizer steps; a whole number at the end of an epoch."""
        whole, rest = divmod(step, self.steps_per_epoch)
        for part in range(1, self.reports_per_epoch):
            if self._report_step(part) == rest:
                return whole + part / self.reports_per_epoch
        return whole + rest / self.steps_per_epoch

    def reports_after(self, step: int) -> bool:
        """Whether a report follows optimizer step number `step` (1-based)."""
        rest = step % self.steps_per_epoch
        return any(
            self._report_step(p) % self.steps_per_epoch == rest for p in range(1, self.reports_per_epoch + 1)
        )

    def _report_step(self, part: int) -> int:
        return -(-self.steps_per_epoch * part // self.reports_per_epoch)


@dataclass(frozen=True)
class BestReport:
    """The best report so far, and the number of reports since the last counted improvement."""

    value: float
    bar: float
    """The value at the last counted improvement; the next one must exceed it by `min_delta`."""
    epoch: float | None = None
    stale: int = 0
    stage: int = 0
    """The stage of the trial whose reports these are: of images of one size."""

    @classmethod
    def start(cls, direction: Direction, stage: int = 0) -> BestReport:
        """The state before the first report of a stage."""
        return cls(value=direction.worst, bar=direction.worst, stage=stage)

    def after(self, value: float, epoch: float, direction: Direction, min_delta: float) -> BestReport:
        """The state after a report; only an improvement of more than `min_delta` resets `stale`."""
        margin = min_delta if direction is Direction.MAXIMIZE else -min_delta
        real = direction.better(value, self.bar + margin)
        better = direction.better(value, self.value)
        return BestReport(
            value=value if better else self.value,
            bar=value if real else self.bar,
            epoch=epoch if better else self.epoch,
            stale=0 if real else self.stale + 1,
            stage=self.stage,
        )

    def objective(self, latest: float, rule: ValueRule) -> float:
        """The objective so far, by its rule."""
        return self.value if rule is ValueRule.BEST else latest


@dataclass
class Spent:
    """The cost since the last report."""

    train_s: float = 0.0
    wait_s: float = 0.0
    samples: int = 0
    lanes: int = 1
    """The most trials that shared a step."""


@dataclass
class TrialState:
    """The complete state of a trial between two steps; the engine advances it in place."""

    number: int
    config: TrialConfig
    classes: tuple[str, ...]
    """The classes of the data."""
    model: nn.Module
    adapted: Adapted
    parts: Parts
    optimizer: torch.optim.Optimizer
    mover: Mover
    pace: Pace
    best: BestReport
    plateau: Plateau
    still: tuple[str, ...]
    """Parameters that are set to train, but have no gradient."""
    generators: tuple[torch.Generator, ...]
    """Random generators that the adapter's layers hold themselves."""
    features: tuple[TrialFeatures, ...]
    """What the model's frozen blocks compute of images, where it is kept, in each stage of image sizes."""
    micro_batch: int
    """The number of images in one forward pass; halved when memory runs out."""
    step: int = 0
    """Optimizer steps done; with the pace, this also gives the position in the epoch."""
    frozen_for: int | None = None
    """The epoch for which `apply_freezing` was last called."""
    done: bool = False
    improved: bool = False
    """Whether the last report is the best so far."""
    spent: Spent = field(default_factory=Spent)
