"""Localized LoRA: every block of W has its own low-rank pair."""

from __future__ import annotations

from peft import GraloraConfig

from trainables.adapters.family import AdapterFamily, over_targets
from trainables.specs.adapters import LocalizedLoraSpec


def localized_lora(spec: LocalizedLoraSpec, targets: list[str]) -> GraloraConfig:
    """K×K block-local LoRA: out_j += alpha/block_rank · Σ_i B_ij A_ij x_i over the K blocks of x.

    This is GraLoRA (Jung et al. 2025) with r = block_rank·K and alpha·K.
    """
    return GraloraConfig(
        r=spec.block_rank * spec.blocks,
        gralora_k=spec.blocks,
        alpha=spec.alpha * spec.blocks,
        gralora_dropout=spec.dropout,
        target_modules=targets,
    )


FAMILY = AdapterFamily(peft_config=over_targets(localized_lora))
