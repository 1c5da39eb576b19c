"""One configuration of a trial: what a search space may vary, and what `trial:` fixes.

Validation against the real model (does a block count divide the hidden size?) happens where the
model is known, in `trainables.adapters`.

Strict pydantic accepts YAML's strings for enums, and lists for tuples, only through
`model_validate_json`, so `tuning.experiment.spec` uses that.
"""

from __future__ import annotations

import hashlib
import json
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from trainables.specs.adapters import (
    SECTIONS,
    TRAINS_BACKBONE,
    WITHOUT_ADAPTER,
    AdaloraSpec,
    Adapter,
    AdapterSpec,
    Freezing,
    LocalizedLoraSpec,
    LohaSpec,
    LokrSpec,
    LoraSpec,
    PeftSpec,
    Role,
    SerialLoraSpec,
)
from trainables.specs.base import ClashError, Count, NotNegative, Positive, Probability, Share, Spec


class Loss(StrEnum):
    """The segmentation losses; detection always uses the model's own Hungarian loss."""

    CROSS_ENTROPY = "cross_entropy"
    DICE = "dice"
    LOG_COSH_DICE = "log_cosh_dice"
    CROSS_ENTROPY_DICE = "cross_entropy_dice"


class Optimizer(StrEnum):
    """The optimizers."""

    ADAMW = "adamw"
    ADAM = "adam"


class Rates(StrEnum):
    """Whether the head shares `learning_rate` or has `head_learning_rate`."""

    TOGETHER = "together"
    APART = "apart"


class Schedule(StrEnum):
    """The learning-rate schedules."""

    CONSTANT = "constant"
    COSINE = "cosine"
    COSINE_RESTARTS = "cosine_restarts"
    WARMUP_FLAT_DECAY = "warmup_flat_decay"
    PLATEAU = "plateau"


class Precision(StrEnum):
    """The precision: fp32, or bf16 autocast over fp32 weights."""

    FP32 = "fp32"
    BF16 = "bf16"


class HeadKind(StrEnum):
    """The heads of a ViT for segmentation."""

    CONV = "conv"
    """3×3 conv to `width`, norm, dropout, 1×1 conv, over the last block's tokens."""
    LINEAR = "linear"
    """Norm, dropout and a 1×1 conv: a linear probe."""
    MULTISCALE = "multiscale"
    """The layers of `conv` over the tokens of several blocks, one beside the other."""


class HeadSpec(Spec):
    """The segmentation head of a ViT.

    blocks: whose tokens a linear or multiscale head reads, each normalised by the model's last norm; negative
    numbers count from the last block, -1. When absent: the last for linear, four evenly spaced ones for
    multiscale.
    width: channels between the two convolutions; half the hidden size when absent.
    """

    kind: HeadKind = HeadKind.CONV
    blocks: Annotated[tuple[int, ...], Field(min_length=1)] | None = None
    width: Count | None = None
    norm: bool = False
    dropout: Probability = 0.0


class EarlyStopping(Spec):
    """Stop after `patience` reports without an improvement of more than `min_delta`."""

    patience: Count = 3
    min_delta: NotNegative = 0.0


class Augment(Spec):
    """Random changes to training images; boxes and masks are changed with them.

    horizontal_flip, vertical_flip: probabilities.  brightness, contrast: largest relative change.
    invert: the probability that light and dark are exchanged, every value v of a channel to 255 - v.
    crop: the smallest side that a crop keeps, as a share of the image's side (1: no cropping).
    views: every image has this many changed versions, drawn once with the trial's seed, and epoch e trains on
    version e mod `views`. When absent, images are changed anew in every epoch.
    """

    horizontal_flip: Share = 0.0
    vertical_flip: Share = 0.0
    brightness: Share = 0.0
    contrast: Share = 0.0
    invert: Share = 0.0
    crop: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    views: Count | None = None

    @property
    def changes_images(self) -> bool:
        """Whether any image is changed at all; asked in every step."""
        fields = type(self).model_fields.items()
        return any(getattr(self, name) != field.default for name, field in fields if name != "views")

    def version(self, epoch: int) -> int:
        """The number of the version of each image that an epoch trains on."""
        return epoch if self.views is None else epoch % self.views


LOSS_WEIGHTS = "loss_weights"
"""The setting with the weights of classes in the loss."""


class Balance(StrEnum):
    """By what the images of an epoch are drawn."""

    NONE = "none"
    CLASS = "class"


USUAL_POWER = 0.5
"""That of `sampling.power` when it is not given."""


class SamplingSpec(Spec):
    """How the training images of an epoch are drawn.

    balance: `none`: every image once. `class`: as many images, but an image whose rarest class is shown by f
    of the images is drawn (f_max / f)^power times as often as one of the most frequent class.
    power: 0.5 as in LVIS; 1 would show rare classes as often as frequent ones.
    """

    balance: Balance = Balance.NONE
    power: Annotated[float, Field(gt=0.0, le=1.0)] = USUAL_POWER


class TrialConfig(Spec):
    """One configuration: what a search space may vary, and what `trial:` fixes.

    A dotted key of the experiment file (`lora.rank`) is a path into this model.
    """

    adapter: Adapter = Adapter.LORA
    lora: LoraSpec | None = None
    adalora: AdaloraSpec | None = None
    loha: LohaSpec | None = None
    lokr: LokrSpec | None = None
    serial_lora: SerialLoraSpec | None = None
    localized_lora: LocalizedLoraSpec | None = None
    peft: PeftSpec | None = None
    targets: Annotated[tuple[Role, ...], Field(min_length=1)] | None = None
    """Roles to adapt. When absent: query and value, and for serial_lora also key."""
    blocks: tuple[int, int] | None = None
    """First and last transformer block to adapt, both included; negative numbers count from the last block,
    which is -1. When absent: all blocks."""

    freezing: Freezing | None = None
    """When absent: head_only with adapter none, frozen with any other adapter."""
    unfreeze_epoch: Count | None = None
    frozen_blocks: Annotated[int, Field(ge=0)] = 0
    freeze_head: bool = False
    """Keep the checkpoint's head unchanged. Needs an adapter, and a head for the data's classes."""

    head: HeadSpec = HeadSpec()
    loss: Loss | None = None
    loss_weights: dict[str, Positive] = Field(default_factory=dict)
    """How much the loss of a class counts, by the class's name; 1 for classes that are not named."""

    optimizer: Optimizer = Optimizer.ADAMW
    learning_rate: Positive = 1e-3
    rates: Rates | None = None
    """When absent: apart if `head_learning_rate` is given."""
    head_learning_rate: Positive | None = None
    weight_decay: NotNegative = 0.01
    schedule: Schedule = Schedule.COSINE
    warmup: Share = 0.05
    """Share of the steps in which the rate rises linearly, for cosine and warmup_flat_decay."""
    flat: Share = 0.75
    """Share of the steps at the full rate, for warmup_flat_decay."""
    restart_epochs: Count = 2
    """Epochs of the first period of cosine_restarts."""
    restart_factor: Count = 2
    """The length of each period of cosine_restarts, as a multiple of the previous one."""
    plateau_patience: Count = 2
    plateau_factor: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.1
    clip_norm: Positive | None = 1.0

    epochs: Annotated[int, Field(ge=0, le=100_000)] = 10
    batch_size: Count = 8
    """Images per batch; an optimizer step uses batch_size · accumulate images."""

    accumulate: Count = 1
    precision: Precision = Precision.FP32
    reports_per_epoch: Count = 1
    train_fraction: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Share of the training images that this trial uses, of those that `data.train_fraction` leaves."""
    early_stopping: EarlyStopping | None = None
    augment: Augment = Augment()
    sampling: SamplingSpec = SamplingSpec()
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    fold: Annotated[int, Field(ge=0)] | None = None
    """Which of `data.splits.folds` parts validates this trial; when absent, `data.splits.fold` for all."""

    @property
    def section(self) -> Any:
        """The settings of the chosen adapter, the defaults if its section is absent; None for `none`."""
        if self.adapter is Adapter.NONE:
            return None
        given = getattr(self, self.adapter.value)
        return SECTIONS[self.adapter]() if given is None else given

    @property
    def mode(self) -> Freezing:
        """The freezing mode, with the default filled in."""
        if self.freezing is not None:
            return self.freezing
        return Freezing.HEAD_ONLY if self.adapter is Adapter.NONE else Freezing.FROZEN

    @property
    def roles(self) -> tuple[Role, ...]:
        """The roles to adapt, each once, with the default filled in and `mlp` replaced by its two layers."""
        default = SECTIONS.get(self.adapter, AdapterSpec).default_roles
        spelled: dict[Role, None] = {}
        for role in self.targets or default:
            for one in (Role.MLP_IN, Role.MLP_OUT) if role is Role.MLP else (role,):
                spelled[one] = None
        return tuple(spelled)

    @property
    def head_rate(self) -> float:
        """The head's learning rate."""
        return self.head_learning_rate if self.head_learning_rate is not None else self.learning_rate

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        faults = list(self._faults())
        if faults:
            raise ClashError(faults)
        return self

    def _faults(self) -> list[str]:
        found = []
        mode, without = self.mode, self.adapter is Adapter.NONE
        if without and mode not in WITHOUT_ADAPTER:
            found.append(f"freezing '{mode}' needs an adapter; with adapter 'none' use head_only or full")
        if not without and mode in WITHOUT_ADAPTER:
            found.append(
                f"freezing '{mode}' needs adapter 'none'; "
                f"with '{self.adapter}' use frozen, unfrozen or unfreeze_at"
            )
        if (mode is Freezing.UNFREEZE_AT) != (self.unfreeze_epoch is not None):
            found.append("unfreeze_epoch and freezing 'unfreeze_at' need each other; set both or neither")
        if self.frozen_blocks and mode not in TRAINS_BACKBONE:
            found.append(f"frozen_blocks needs freezing unfrozen, full or unfreeze_at, got '{mode}'")
        if self.freeze_head and without:
            found.append("freeze_head needs an adapter; with adapter 'none' only the head trains")
        found += self._head_faults()
        if self.blocks is not None:
            first, last = self.blocks
            # One counted from the first block and one from the last are compared where the model is known.
            if first > last and (first < 0) == (last < 0):
                found.append(f"blocks must run from first to last, got {list(self.blocks)}")
        if self.rates is Rates.TOGETHER and self.head_learning_rate is not None:
            found.append("rates 'together' allows no head_learning_rate; remove it or use 'apart'")
        if self.rates is Rates.APART and self.head_learning_rate is None:
            found.append("rates 'apart' needs a head_learning_rate")
        if self.adapter is Adapter.PEFT and self.peft is None:
            found.append("adapter 'peft' needs a section peft with a method")
        if self.schedule is Schedule.WARMUP_FLAT_DECAY and self.warmup + self.flat > 1.0:
            found.append("warmup + flat must not exceed 1")
        if self.sampling.balance is Balance.NONE and self.sampling.power != USUAL_POWER:
            found.append(
                "sampling.power needs sampling.balance 'class'; remove it, or search it with "
                "when: {sampling.balance: class}"
            )
        return found

    def _head_faults(self) -> list[str]:
        found, head = [], self.head
        if head.kind is HeadKind.LINEAR and head.width is not None:
            found.append(
                "head.width needs head.kind 'conv' or 'multiscale', as a linear head has no layer between; "
                "remove it, or search it with when: {head.kind: [conv, multiscale]}"
            )
        if head.kind is HeadKind.CONV and head.blocks is not None:
            found.append(
                "head.blocks needs head.kind 'linear' or 'multiscale', as 'conv' reads the last block; "
                "remove it"
            )
        if head.blocks is not None and len(set(head.blocks)) < len(head.blocks):
            found.append(f"head.blocks must name each block once, got {list(head.blocks)}")
        return found


def config_digest(config: TrialConfig) -> str:
    """The SHA-256 of a configuration, in hexadecimal digits.

    Settings that have their defaults do not count, so that new ones change no digest of before.
    """
    held = config.model_dump(mode="json", exclude_defaults=True)
    return hashlib.sha256(json.dumps(held, sort_keys=True).encode()).hexdigest()
