"""AdaLoRA: ranks are moved to the layers that need them most and shrink to a budget.

PEFT's allocator does the work. This module adds what it needs: the real number of steps, a call
after every optimizer step, the orthogonal term (PEFT adds it only in its wrapper's `forward`, which
injection bypasses), and a state that can be restored from a checkpoint (PEFT saves neither the
importance averages nor the weights of masked ranks).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from peft import AdaLoraConfig
from torch import Tensor, nn

from trainables.adapters.families.lora import lora_at_scale_one
from trainables.adapters.family import ADAPTER_NAME, AdapterFamily, Exported, TrainingHook
from trainables.adapters.layout import Layout
from trainables.adapters.rules import AdaloraSteps, adalora_steps
from trainables.specs.adapters import AdaloraSpec
from trainables.specs.trial import TrialConfig

_AVERAGES = ("exp_avg_ipt", "exp_avg_unc")
_MASK = "mask/"
_RANK_STABILISER = 1e-5
"""The term that PEFT's AdaLoRA adds to the rank before it divides by it."""


def adalora(spec: AdaloraSpec, targets: list[str], steps: AdaloraSteps) -> AdaLoraConfig:
    """ΔW = alpha/init_rank · B (E ⊙ A), with a diagonal E that is masked to the budget (Zhang 2023)."""
    return AdaLoraConfig(
        init_r=spec.init_rank,
        target_r=spec.target_rank,
        lora_alpha=spec.alpha,
        lora_dropout=spec.dropout,
        tinit=steps.tinit,
        tfinal=steps.tfinal,
        total_step=steps.total,
        deltaT=spec.interval,
        beta1=spec.beta1,
        beta2=spec.beta2,
        orth_reg_weight=spec.orthogonal_weight,
        target_modules=targets,
    )


class RankAllocation(TrainingHook):
    """The rank allocator of one adapted model, and the orthogonal term of its loss."""

    def __init__(self, tuner: Any) -> None:
        """tuner: PEFT's AdaLoraModel."""
        super().__init__(tuner)
        self._config: AdaLoraConfig = tuner.peft_config[ADAPTER_NAME]
        self._allocator = tuner.rankallocator
        self._layers = {
            name: layer
            for name, layer in tuner.model.named_modules()
            if isinstance(layer, tuner.tuner_layer_cls)
        }
        named = [p for p in tuner.model.named_parameters() if ".lora_" in p[0]]
        self._parameters: list[nn.Parameter] = [p for _, p in named]
        self._sides = [(p, ".lora_A." in n) for n, p in named if ".lora_A." in n or ".lora_B." in n]
        # With equal ranks nothing is masked, and PEFT would call kthvalue with k = 0.
        self._shrinks = self._config.init_r > self._config.target_r

    def penalty(self) -> Tensor | None:
        """orthogonal_weight · mean over all A and B of ‖AAᵀ − I‖_F, ‖BᵀB − I‖_F."""
        if not self._config.orth_reg_weight:
            return None
        terms = []
        for side, is_a in self._sides:
            covariance = side @ side.T if is_a else side.T @ side
            identity = torch.eye(covariance.shape[0], device=side.device, dtype=side.dtype)
            terms.append(torch.linalg.matrix_norm(covariance - identity))
        weighted: Tensor = self._config.orth_reg_weight * torch.stack(terms).mean()
        return weighted

    def after_step(self, step: int) -> None:
        """Update importances from this step's gradients and reallocate. step: optimizer steps done."""
        if not self._shrinks:
            return
        for parameter in self._parameters:
            if parameter.grad is None:  # a layer that this step's loss does not depend on
                parameter.grad = torch.zeros_like(parameter)
        self._tuner.update_and_allocate(step)

    def ranks(self) -> dict[str, int]:
        """Each adapted layer's rank: its initial rank less the masked ones."""
        pattern = self._config.rank_pattern or {}
        kept = {name.rpartition(".lora_E.")[0]: sum(mask) for name, mask in pattern.items()}
        return {name: kept.get(name, layer.r[ADAPTER_NAME]) for name, layer in self._layers.items()}

    def state(self) -> dict[str, Tensor]:
        """Importance averages and masks, in a flat dict."""
        held = {
            f"{kind}/{name}": tensor.clone()
            for kind in _AVERAGES
            for name, tensor in getattr(self._allocator, kind).items()
        }
        pattern = self._config.rank_pattern or {}
        return held | {_MASK + name: torch.tensor(mask) for name, mask in pattern.items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Continue from `state()`."""
        self._allocator.reset_ipt()
        device = self._parameters[0].device
        for kind in _AVERAGES:
            averages = {
                key.removeprefix(f"{kind}/"): tensor.to(device, copy=True)
                for key, tensor in state.items()
                if key.startswith(f"{kind}/")
            }
            setattr(self._allocator, kind, averages)
            # PEFT sets the averages to zero for a name without a sensitivity.
            self._allocator.ipt.update({name: torch.zeros_like(tensor) for name, tensor in averages.items()})
        masks = {key.removeprefix(_MASK): mask for key, mask in state.items() if key.startswith(_MASK)}
        self._config.rank_pattern = {name: mask.tolist() for name, mask in masks.items()} or None


def _peft_config(config: TrialConfig, layout: Layout, total_steps: int) -> AdaLoraConfig:
    targets = list(layout.targets(config.roles, config.blocks))
    return adalora(config.section, targets, adalora_steps(config.section, total_steps))


def _as_lora(spec: AdaloraSpec, layers: Mapping[str, Any], trained: dict[str, Tensor]) -> Exported:
    """LoRA with E ⊙ A, scaled, with the ranks that are left in each layer."""
    tensors: dict[str, Tensor] = {}
    ranks: dict[str, int] = {}
    for name, layer in layers.items():
        down, scores, up, count = (
            trained[f"{name}.{part}.{ADAPTER_NAME}"].double()
            for part in ("lora_A", "lora_E", "lora_B", "ranknum")
        )
        scale = layer.scaling[ADAPTER_NAME] / (count + _RANK_STABILISER)
        left = scores[:, 0].nonzero()[:, 0]
        # A layer without any rank left keeps a zero one: LoRA has no rank 0.
        left = left if len(left) else torch.zeros(1, dtype=torch.long)
        ranks[name] = len(left)
        tensors[f"{name}.lora_A.{ADAPTER_NAME}.weight"] = (down * scores * scale)[left].float()
        tensors[f"{name}.lora_B.{ADAPTER_NAME}.weight"] = up[:, left].float()
    return lora_at_scale_one(ranks, spec.dropout), tensors


FAMILY = AdapterFamily(peft_config=_peft_config, hook=RankAllocation, exported=_as_lora)
