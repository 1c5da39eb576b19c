"""LoHa: the update is the elementwise product of two low-rank products."""

from __future__ import annotations

from peft import LoHaConfig

from trainables.adapters.family import AdapterFamily, over_targets
from trainables.specs.adapters import LohaSpec


def loha(spec: LohaSpec, targets: list[str]) -> LoHaConfig:
    """ΔW = alpha/rank · (B₁A₁) ⊙ (B₂A₂), with a rank of up to rank² (Hyeon-Woo et al. 2022, FedPara)."""
    return LoHaConfig(
        r=spec.rank,
        alpha=spec.alpha,
        rank_dropout=spec.rank_dropout,
        module_dropout=spec.module_dropout,
        target_modules=targets,
    )


FAMILY = AdapterFamily(peft_config=over_targets(loha))
