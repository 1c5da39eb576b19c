"""The optimizer of a trial, the learning rates of its groups, and its steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

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


def load_optimizer(optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> None:
    """Load a saved state, but keep the optimizer's own rates and weight decay: the trial may have others."""
    own = [(group["base_lr"], group["weight_decay"]) for group in optimizer.param_groups]
    optimizer.load_state_dict(saved)
    for group, (rate, decay) in zip(optimizer.param_groups, own, strict=True):
        group["base_lr"], group["weight_decay"] = rate, decay


class Mover:
    """Takes an optimizer's steps: clips the gradients, moves the weights, forgets the gradients.

    This is `clip_grad_norm_`, `step` and `zero_grad` without what they do again in each step: with the few
    small tensors of an adapter, that takes five times as long as the arithmetic.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self._optimizer = optimizer
        self._of: Any = None
        self._moving: list[int] = []
        self._calls: list[_Call] = []

    def gradients(self) -> list[Tensor]:
        """The gradients of all parameters that have one."""
        return [
            p.grad for group in self._optimizer.param_groups for p in group["params"] if p.grad is not None
        ]

    def step(self, scale: Tensor | None) -> None:
        """Move the weights by their gradients, divided by `scale`."""
        optimizer = self._optimizer
        moving = [id(p) for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        # Loading a state replaces the optimizer's dictionary; other parameters train after unfreezing.
        if self._of is not optimizer.state or self._moving != moving:
            self._calls = _calls(optimizer)
            self._of, self._moving = optimizer.state, moving
        if self._calls:
            for call in self._calls:
                call(scale)
            return
        self._of = None
        if scale is not None and moving:
            torch._foreach_div_(self.gradients(), scale)
        optimizer.step()  # the first step makes the optimizer's state

    def forget(self) -> None:
        """Drop the gradients."""
        for group in self._optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None


def excess(norms: Tensor, clip_norm: float) -> Tensor:
    """What to divide gradients by: how many times their total norm is larger than `clip_norm`, at least 1.

    norms: (tensors,) the norms of single gradients. As in `clip_grad_norm_`.
    """
    total: Tensor = torch.linalg.vector_norm(norms)
    return ((total + 1e-6) / clip_norm).clamp(min=1.0)


@dataclass(frozen=True)
class _Call:
    """Parameters with their optimizer state.  group: one of theirs, with settings and the present rate."""

    group: dict[str, Any]
    parameters: list[Tensor]
    averages: list[Tensor]
    squares: list[Tensor]
    steps: list[Tensor]

    def __call__(self, scale: Tensor | None) -> None:
        group = self.group
        beta1, beta2 = group["betas"]
        torch._foreach_add_(self.steps, 1)
        # As `torch.optim.adam._fused_adam` of torch 2.13 calls them.
        move = torch._fused_adamw_ if group["decoupled_weight_decay"] else torch._fused_adam_
        move(
            self.parameters,
            [parameter.grad for parameter in self.parameters],  # type: ignore[misc]
            self.averages,
            self.squares,
            [],
            self.steps,
            amsgrad=False,
            lr=group["lr"],
            beta1=beta1,
            beta2=beta2,
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
            grad_scale=scale,
            found_inf=None,
        )


def _calls(optimizer: torch.optim.Optimizer) -> list[_Call]:
    """One call for all groups of equal settings; none while a parameter that moves has no state yet."""
    alike: dict[str, list[dict[str, Any]]] = {}
    for number, group in enumerate(optimizer.param_groups):
        settings = {name: value for name, value in group.items() if name not in ("params", "lr")}
        # The present rate is the base rate, if there is one, times a factor that is the same for all groups.
        key = repr(sorted(settings.items())) if "base_lr" in settings else str(number)
        alike.setdefault(key, []).append(group)
    found = []
    for groups in alike.values():
        moving = [p for group in groups for p in group["params"] if p.grad is not None]
        states = [optimizer.state[p] for p in moving if p in optimizer.state]
        if len(states) < len(moving):
            return []
        if moving:
            held = ([state[name] for state in states] for name in ("exp_avg", "exp_avg_sq", "step"))
            found.append(_Call(groups[0], moving, *held))
    return found
