"""The settings of each adapter family, the layers that it can adapt, and what trains alongside it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Self

from pydantic import Field, JsonValue, model_validator

from trainables.specs.base import Count, NotNegative, Positive, Probability, Rank, Share, Spec


class Adapter(StrEnum):
    """The adapter families; each one except `none` has a section of the same name in `TrialConfig`."""

    NONE = "none"
    LORA = "lora"
    ADALORA = "adalora"
    LOHA = "loha"
    LOKR = "lokr"
    SERIAL_LORA = "serial_lora"
    LOCALIZED_LORA = "localized_lora"
    PEFT = "peft"


class Role(StrEnum):
    """What a linear layer does in its transformer block; `mlp` means both MLP layers."""

    QUERY = "query"
    KEY = "key"
    VALUE = "value"
    OUTPUT = "output"
    MLP = "mlp"
    MLP_IN = "mlp_in"
    MLP_OUT = "mlp_out"


class AdapterSpec(Spec):
    """The settings of one adapter family."""

    default_roles: ClassVar[tuple[Role, ...]] = (Role.QUERY, Role.VALUE)
    """Layers to adapt when `targets` is absent."""
    packs: ClassVar[bool] = True
    """Whether trials with it can take their steps together: it adds to a layer's input or output."""
    prunes: ClassVar[bool] = False
    """Whether it removes weights while it trains, by a schedule over the trial's steps."""
    stacked: ClassVar[bool] = False
    """Whether the layers of several trials are one product, without random numbers but for dropout."""


class LoraInit(StrEnum):
    """The initial weights of LoRA: random, or computed from training images before training."""

    RANDOM = "random"
    EVA = "eva"
    LORA_GA = "lora_ga"


def _is_random(init: LoraInit) -> bool:
    return init is LoraInit.RANDOM


class LoraSpec(AdapterSpec):
    """LoRA: W x + scale · B(A x), scale alpha/rank or `rslora`: alpha/√rank (Hu 2021, Kalajdzievski 2023).

    init: `eva`: A from principal directions of the layers' inputs, ranks redistributed (Paischer 2024);
    `lora_ga`: A and B from the loss's gradient (Wang 2024).
    """

    stacked: ClassVar[bool] = True

    rank: Rank = 8
    alpha: Positive = 16.0
    dropout: Probability = 0.0
    rslora: bool = False
    dora: bool = False
    # Left out of records at its default: those made before it existed answer as they did.
    init: Annotated[LoraInit, Field(exclude_if=_is_random)] = LoraInit.RANDOM

    @model_validator(mode="after")
    def _one_decomposition(self) -> Self:
        if self.dora and self.init is LoraInit.LORA_GA:
            raise ValueError("init 'lora_ga' cannot be combined with dora; use one of them")
        return self


class AdaloraSpec(AdapterSpec):
    """AdaLoRA: ranks shrink from `init_rank` to `target_rank` on average (Zhang 2023).

    tinit, tfinal: shares of the trial's optimizer steps before the first and after the last
    reallocation.  interval: steps between reallocations.
    """

    prunes: ClassVar[bool] = True
    stacked: ClassVar[bool] = True

    init_rank: Rank = 12
    target_rank: Rank = 8
    alpha: Positive = 16.0
    dropout: Probability = 0.0
    tinit: Share = 0.1
    tfinal: Share = 0.3
    interval: Count = 1
    beta1: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.85
    beta2: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.85
    orthogonal_weight: NotNegative = 0.5

    @model_validator(mode="after")
    def _shrinks(self) -> Self:
        if self.target_rank > self.init_rank:
            raise ValueError(
                f"target_rank ({self.target_rank}) must not exceed init_rank ({self.init_rank}): "
                "ranks only shrink"
            )
        if self.tinit + self.tfinal >= 1.0:
            raise ValueError("tinit + tfinal must stay below 1, or no step is left to reallocate ranks in")
        return self


class LohaSpec(AdapterSpec):
    """LoHa: the Hadamard product of two low-rank products (Hyeon-Woo 2022)."""

    rank: Rank = 8
    alpha: Positive = 8.0
    rank_dropout: Probability = 0.0
    module_dropout: Probability = 0.0


class LokrSpec(AdapterSpec):
    """LoKr: the Kronecker product of two factors (Yeh 2023). decompose_factor -1 picks the squarest split."""

    rank: Rank = 8
    alpha: Positive = 8.0
    rank_dropout: Probability = 0.0
    module_dropout: Probability = 0.0
    decompose_both: bool = False
    decompose_factor: Annotated[int, Field(ge=-1)] = -1


class SerialLoraSpec(AdapterSpec):
    """Serial LoRA: W(x + B(A x)) + b, no scale; `shared` uses one A and B for all targets of a block."""

    default_roles: ClassVar[tuple[Role, ...]] = (Role.QUERY, Role.KEY, Role.VALUE)
    stacked: ClassVar[bool] = True

    rank: Rank = 8
    dropout: Probability = 0.0
    shared: bool = True


class LocalizedLoraSpec(AdapterSpec):
    """Localized LoRA: blocks² pairs of rank `block_rank`, scale alpha/block_rank (GraLoRA, Jung 2025)."""

    block_rank: Rank = 4
    blocks: Annotated[int, Field(ge=2, le=256)] = 2
    alpha: Positive = 8.0
    dropout: Probability = 0.0


class PeftSpec(AdapterSpec):
    """Any other PEFT method: the name of its PeftType (IA3, OFT, VERA, …) and the arguments of its config."""

    packs: ClassVar[bool] = False

    method: str
    arguments: dict[str, JsonValue] = Field(default_factory=dict)


class Freezing(StrEnum):
    """What trains alongside the adapter."""

    HEAD_ONLY = "head_only"
    FROZEN = "frozen"
    UNFROZEN = "unfrozen"
    FULL = "full"
    UNFREEZE_AT = "unfreeze_at"


WITHOUT_ADAPTER = frozenset({Freezing.HEAD_ONLY, Freezing.FULL})
"""Modes for adapter `none`; the others need an adapter."""
TRAINS_BACKBONE = frozenset({Freezing.UNFROZEN, Freezing.FULL, Freezing.UNFREEZE_AT})
"""Modes in which backbone weights train, from the start or later; only these accept `frozen_blocks`."""


SECTIONS: dict[Adapter, type[AdapterSpec]] = {
    Adapter.LORA: LoraSpec,
    Adapter.ADALORA: AdaloraSpec,
    Adapter.LOHA: LohaSpec,
    Adapter.LOKR: LokrSpec,
    Adapter.SERIAL_LORA: SerialLoraSpec,
    Adapter.LOCALIZED_LORA: LocalizedLoraSpec,
    Adapter.PEFT: PeftSpec,
}
