"""Counts the weights that a configuration sets to train, without training or data, by building the model.

Whether each of them has a gradient is found on images, when a trial starts (`training.gradient_audit`).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch

from trainables.models.build import build_model
from trainables.models.freezing import count_parameters
from trainables.specs.trial import TrialConfig
from trainables.specs.workload import Workload
from trainables.tasks.registry import load_task

_STEPS = 10_000
"""The optimizer steps given to AdaLoRA; they do not change the counts."""


class Counter:
    """Counts the weights of configurations over one backbone, and caches the counts."""

    def __init__(self, workload: Workload, classes: Sequence[str]) -> None:
        """classes: those of the data, for the head. Raises ModelError."""
        self._task = load_task(workload, tuple(classes), torch.device("cpu"))
        self._known: dict[str, dict[str, int]] = {}

    def parameters(self, config: TrialConfig) -> dict[str, int]:
        """Weights that train, by part; see `count_parameters`. Raises AdapterError."""
        key = config.model_dump_json()
        if key not in self._known:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a library's warnings about ranks that are only counted
                built = build_model(self._task, config, total_steps=_STEPS)
            self._known[key] = count_parameters(built.parts, config)
        return self._known[key]

    def adapter(self, config: TrialConfig) -> int:
        """The trained weights of the adapter only."""
        return self.parameters(config)["adapter"]
