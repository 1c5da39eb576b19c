"""LoRA: W x + b + scale · B(A x), with rank-stabilised scale and weight decomposition as options."""

from __future__ import annotations

from peft import LoraConfig

from trainables.specs.adapters import LoraSpec


def lora(spec: LoraSpec, targets: list[str]) -> LoraConfig:
    """Hu et al. 2021; scale alpha/rank, with `rslora` alpha/√rank (Kalajdzievski 2023).

    With `dora` the sum W + scale·BA is renormalised to trained column norms (Liu et al. 2024).
    """
    return LoraConfig(
        r=spec.rank,
        lora_alpha=spec.alpha,
        lora_dropout=spec.dropout,
        use_rslora=spec.rslora,
        use_dora=spec.dora,
        target_modules=targets,
    )
