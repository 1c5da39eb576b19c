"""LoKr: the update is a Kronecker product."""

from __future__ import annotations

from peft import LoKrConfig

from trainables.adapters.family import AdapterFamily, over_targets
from trainables.specs.adapters import LokrSpec


def lokr(spec: LokrSpec, targets: list[str]) -> LoKrConfig:
    """ΔW = alpha/rank · C ⊗ (B A) (Yeh et al. 2023).

    decompose_both: C is also low-rank if that saves parameters.  decompose_factor: limits the size of C;
    a factor that does not divide a layer's width is replaced by the nearest one that does.
    """
    return LoKrConfig(
        r=spec.rank,
        alpha=spec.alpha,
        rank_dropout=spec.rank_dropout,
        module_dropout=spec.module_dropout,
        decompose_both=spec.decompose_both,
        decompose_factor=spec.decompose_factor,
        target_modules=targets,
    )


FAMILY = AdapterFamily(peft_config=over_targets(lokr))
