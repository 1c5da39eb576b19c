"""The expected cost of a sweep, from one measured step and evaluation of each kind of adapter."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainables.errors import AdaptertuneError
from trainables.packing.group import why_alone
from trainables.specs.adapters import TRAINS_BACKBONE, Adapter
from trainables.specs.trial import TrialConfig
from tuning.experiment.spec import Experiment

if TYPE_CHECKING:
    from trainables.training.dry_run import DryRun

DRAWS = 400
"""The number of configurations drawn from the space; the costliest one of each kind is measured."""


@dataclass(frozen=True)
class SweepEstimate:
    """The expected cost of the whole sweep; an upper bound, because it ignores early stopping."""

    trials: int | None
    side_by_side: int
    epochs: float
    """The most epochs of a trial."""
    trial_s: float
    """The time of a trial: the mean over the kinds of adapter, NaN if none could be measured."""
    peak_mb: float
    """The peak memory of the costliest trial."""
    budget: int | None = None
    """`search.epochs`, the epochs of all trials together."""

    @property
    def total_s(self) -> float | None:
        """The time for all trials; None if neither their number nor their epochs are limited."""
        times = []
        if self.trials is not None:
            times.append(self.trial_s * math.ceil(self.trials / self.side_by_side))
        if self.budget is not None:  # trials that run when it is used up go to their end
            epochs = self.budget / self.side_by_side + self.epochs
            times.append(self.trial_s * epochs / self.epochs)
        return min(times, default=None)

    @property
    def total_mb(self) -> float:
        """The memory of all trials that run at the same time."""
        return self.peak_mb * self.side_by_side


def costliest_configs(experiment: Experiment) -> list[TrialConfig]:
    """The costliest drawn configuration of each kind of adapter, in the order of `Adapter`.

    Cost grows with the batch size, a trainable backbone and the ranks. Invalid configurations are skipped;
    they fail in their trial.
    """
    costliest: dict[tuple[str, str], TrialConfig] = {}
    for config in _drawn(experiment):
        kind = _kind(config)
        if kind not in costliest or _cost(config) > _cost(costliest[kind]):
            costliest[kind] = config
    order = [adapter.value for adapter in Adapter]
    return [costliest[kind] for kind in sorted(costliest, key=lambda k: (order.index(k[0]), k[1]))]


def trained_alone(experiment: Experiment) -> list[str]:
    """Why drawn configurations take their steps alone, each reason once; empty if packs take all of them."""
    reasons = {reason for config in _drawn(experiment) if (reason := why_alone(config)) is not None}
    return sorted(reasons)


def first_packed(experiment: Experiment) -> TrialConfig | None:
    """The first drawn configuration that packs take; None if all take their steps alone."""
    return next((config for config in _drawn(experiment) if why_alone(config) is None), None)


def _drawn(experiment: Experiment) -> Iterator[TrialConfig]:
    generator = random.Random(0)
    drawn = [dict(params) for params in experiment.search.first]
    drawn += [experiment.space.sample(generator) for _ in range(DRAWS if experiment.space else 1)]
    for params in drawn:
        with suppress(AdaptertuneError):
            yield experiment.trial_config(params)


def _kind(config: TrialConfig) -> tuple[str, str]:
    return config.adapter.value, config.peft.method if config.peft is not None else ""


def _cost(config: TrialConfig) -> tuple[float, ...]:
    section = config.section
    sizes = section.model_dump(mode="json").values() if section is not None else ()
    ranks = sum(value for value in sizes if type(value) is int)
    return config.batch_size, config.mode in TRAINS_BACKBONE, len(config.roles), ranks


def trial_seconds(config: TrialConfig, run: DryRun) -> float:
    """The time of a whole trial of `config` at the measured speed."""
    return config.epochs * (run.steps_per_epoch * run.step_s + config.reports_per_epoch * run.evaluate_s)


def estimate_sweep(
    experiment: Experiment,
    configs: Sequence[TrialConfig],
    runs: Sequence[DryRun],
    *,
    trials: int | None,
    side_by_side: int,
) -> SweepEstimate:
    """Estimate the cost of a sweep from measured steps; failed measurements are left out."""
    valid = [(config, run) for config, run in zip(configs, runs, strict=True) if run.error is None]
    seconds = [trial_seconds(config, run) for config, run in valid]
    return SweepEstimate(
        trials=trials,
        side_by_side=max(1, side_by_side),
        epochs=float(experiment.max_epochs),
        trial_s=sum(seconds) / len(seconds) if seconds else math.nan,
        peak_mb=max((run.peak_mb for _, run in valid), default=math.nan),
        budget=experiment.search.epochs,
    )
