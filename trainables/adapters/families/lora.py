"""LoRA: W x + b + scale · B(A x), with rank-stabilised scale and weight decomposition as options."""

from __future__ import annotations

import re
from collections.abc import Mapping

from peft import LoraConfig

from trainables.adapters.family import AdapterFamily, over_targets
from trainables.specs.adapters import LoraInit, LoraSpec


def lora(spec: LoraSpec, targets: list[str]) -> LoraConfig:
    """Hu et al. 2021; scale alpha/rank, with `rslora` alpha/√rank (Kalajdzievski 2023).

    With `dora` the sum W + scale·BA is renormalised to trained column norms (Liu et al. 2024).
    The initial weights of `init` are computed in `from_images`.
    """
    made = LoraConfig(
        r=spec.rank,
        lora_alpha=spec.alpha,
        lora_dropout=spec.dropout,
        use_rslora=spec.rslora,
        use_dora=spec.dora,
        target_modules=targets,
    )
    if spec.init is not LoraInit.RANDOM:
        # Set afterwards: PEFT's constructor warns that the settings of the initialisation are its defaults.
        made.init_lora_weights = spec.init.value
    return made


def lora_at_scale_one(ranks: Mapping[str, int], dropout: float) -> LoraConfig:
    """LoRA with the update B·A and a separate rank in each layer: the export format of other families."""
    rank = max(ranks.values())
    others = {re.escape(name): own for name, own in ranks.items() if own != rank}
    return LoraConfig(
        r=rank,
        lora_alpha=rank,
        lora_dropout=dropout,
        rank_pattern=others,
        alpha_pattern=dict(others),
        target_modules=set(ranks),
        inference_mode=True,
    )


FAMILY = AdapterFamily(peft_config=over_targets(lora))
