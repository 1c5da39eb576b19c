"""The optimizer of a trial, and the learning rates of its groups."""

from __future__ import annotations

import torch

from trainables.models.freezing import Parts
from trainables.specs.trial import Optimizer, TrialConfig


def make_optimizer(parts: Parts, config: TrialConfig) -> torch.optim.Optimizer:
    """AdamW or Adam; adapters and backbone use `learning_rate`, the head uses its own rate."""
    body = [*parts.adapter.values(), *parts.movable(config).values()]
    groups = [
        {"params": body, "base_lr": config.learning_rate},
        {"params": list(parts.head.values()), "base_lr": config.head_rate},
    ]
    kind = torch.optim.AdamW if config.optimizer is Optimizer.ADAMW else torch.optim.Adam
    return kind(
        [g for g in groups if g["params"]],
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        fused=True,
    )
