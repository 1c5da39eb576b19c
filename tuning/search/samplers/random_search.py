"""Configurations at random."""

from __future__ import annotations

import optuna
from optuna.samplers import BaseSampler, RandomSampler

from tuning.experiment.sections.search import RandomSpec


def build_random(spec: RandomSpec, seed: int, study: optuna.Study) -> BaseSampler:
    """Build a sampler that draws each setting on its own, uniformly, or uniformly in the logarithm."""
    return RandomSampler(seed=seed)
