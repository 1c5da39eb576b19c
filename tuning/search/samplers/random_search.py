"""Configurations at random."""

from __future__ import annotations

from optuna.samplers import BaseSampler, RandomSampler

from tuning.experiment.sections.search import RandomSpec
from tuning.search.samplers.draw import Draw


def build_random(spec: RandomSpec, draw: Draw) -> BaseSampler:
    """Build a sampler that draws each setting on its own, uniformly, or uniformly in the logarithm."""
    return RandomSampler(seed=draw.seed)
