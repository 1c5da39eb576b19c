"""Everything one fine-tuning run needs, as frozen, strict values. No torch, no ray.

`Workload` is what all trials of an experiment share (task, model, data, objective);
`TrialConfig` is what a search space may vary. Validation against the real model (does a block
count divide the hidden size?) happens where the model is known, in `trainables.adapters`.

Strict pydantic takes YAML's strings for enums, and lists for tuples, only through
`model_validate_json`; `tuning.experiment` goes that way.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator

Rank = Annotated[int, Field(ge=1, le=4096)]
Probability = Annotated[float, Field(ge=0.0, lt=1.0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


class Spec(BaseModel):
    """A frozen, closed, strict value: an unknown key is an error, never a default."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ClashError(ValueError):
    """Settings that do not go together; `faults` has each rule that they break."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


# --- what all trials of an experiment share ---------------------------------------------------


class Task(StrEnum):
    """What is fine-tuned."""

    DETECTION = "detection"
    SEGMENTATION = "segmentation"


class Split(StrEnum):
    """The parts of a data set."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


class Domain(StrEnum):
    """The looks of the embedded data: the clean source and three shifted targets."""

    CLEAN = "clean"
    INVERTED = "inverted"
    TEXTURED = "textured"
    NOISY = "noisy"


class Direction(StrEnum):
    """Which way a metric is better."""

    MAXIMIZE = "max"
    MINIMIZE = "min"

    def better(self, new: float, old: float) -> bool:
        """Whether `new` is strictly better than `old`; NaN never is."""
        return new > old if self is Direction.MAXIMIZE else new < old

    @property
    def worst(self) -> float:
        """The value that every finite one beats."""
        return float("-inf") if self is Direction.MAXIMIZE else float("inf")


COCO_FIGURES = (
    "map", "map_50", "map_75", "map_small", "map_medium", "map_large",
    "mar_1", "mar_10", "mar_100", "mar_small", "mar_medium", "mar_large",
)  # fmt: skip
"""The twelve COCO figures in COCO's order, under torchmetrics' names."""

METRICS: dict[Task, dict[str, Direction]] = {
    Task.DETECTION: dict.fromkeys(COCO_FIGURES, Direction.MAXIMIZE) | {"loss": Direction.MINIMIZE},
    Task.SEGMENTATION: {
        "dice": Direction.MAXIMIZE,
        "iou": Direction.MAXIMIZE,
        "soft_dice": Direction.MAXIMIZE,
        "loss": Direction.MINIMIZE,
    },
}
"""Validation metrics by task. Per-class figures are reported as `map/NAME`, `dice/NAME`, `iou/NAME`."""


class ValueRule(StrEnum):
    """Which report of a trial gives its value."""

    BEST = "best"
    LAST = "last"


class ObjectiveSpec(Spec):
    """What a sweep optimises, always on validation images."""

    metric: str
    mode: Direction | None = None
    value: ValueRule = ValueRule.BEST


class ModelSpec(Spec):
    """A pretrained backbone: `embedded`, a hub id, or a local folder in hub format."""

    name: str = "embedded"
    revision: str | None = None
    image_size: tuple[Count, Count] | None = None
    """(height, width) in pixels; the checkpoint's processor decides when absent."""


class EmbeddedData(Spec):
    """Scenes of handwritten digits, see `trainables.data.embedded`."""

    domain: Domain = Domain.INVERTED
    train: Count = 256
    validation: Count = 64
    test: Count = 64
    side: Annotated[int, Field(ge=32, le=512)] = 64
    seed: Annotated[int, Field(ge=0)] = 0


class CocoPart(Spec):
    """A folder of images and its COCO JSON of annotations."""

    images: str
    annotations: str


class CocoData(Spec):
    """Detection from COCO JSON. Parts that are absent are split off `train`."""

    train: CocoPart
    validation: CocoPart | None = None
    test: CocoPart | None = None


class MaskPart(Spec):
    """A folder of images and one of masks; a pair shares its file name, suffixes aside."""

    images: str
    masks: str


class MaskData(Spec):
    """Segmentation from image and mask folders. Parts that are absent are split off `train`.

    A mask pixel holds a class index into `classes`, or, with `values`, the grey value that
    stands for each class in turn. Pixels of `ignore` count nowhere.
    """

    train: MaskPart
    validation: MaskPart | None = None
    test: MaskPart | None = None
    classes: Annotated[tuple[str, ...], Field(min_length=2)]
    values: tuple[int, ...] | None = None
    ignore: int | None = None


class HubData(Spec):
    """A data set for `datasets.load_dataset`, in the form of `detection-datasets/coco`."""

    path: str
    name: str | None = None
    revision: str | None = None
    train: str = "train"
    validation: str | None = None
    test: str | None = None


class SplitSpec(Spec):
    """Shares for parts that the source does not give, drawn by image with a seed."""

    train: Share = 0.7
    validation: Share = 0.15
    test: Share = 0.15
    seed: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if abs(self.train + self.validation + self.test - 1.0) > 1e-6:
            raise ValueError("train, validation and test must add up to 1")
        if not self.train or not self.validation:
            raise ValueError("train and validation must both be above 0")
        return self


class FaultRule(StrEnum):
    """What happens to an image with a fault: left out and listed, kept as it is, or the preparation stops."""

    DROP = "drop"
    STOP = "stop"
    KEEP = "keep"


class FaultRules(Spec):
    """A rule for each fault that preparation looks for. A bad box is dropped, not its image.

    `keep` is for `empty_mask` alone: an image of nothing but background is a negative example.
    """

    unreadable_image: FaultRule = FaultRule.DROP
    missing_file: FaultRule = FaultRule.STOP
    bad_box: FaultRule = FaultRule.DROP
    empty_mask: FaultRule = FaultRule.DROP
    bad_mask: FaultRule = FaultRule.STOP

    @field_validator("unreadable_image", "missing_file", "bad_box", "bad_mask")
    @classmethod
    def _not_kept(cls, rule: FaultRule) -> FaultRule:
        if rule is FaultRule.KEEP:
            raise ValueError(
                "must be drop or stop, got keep; that is for empty_mask alone, an image of nothing but "
                "background that can be learned from: with this fault there is nothing sound to keep"
            )
        return rule


class DataSpec(Spec):
    """Exactly one source, and how it is split and checked."""

    embedded: EmbeddedData | None = None
    coco: CocoData | None = None
    masks: MaskData | None = None
    hub: HubData | None = None
    splits: SplitSpec = SplitSpec()
    faults: FaultRules = FaultRules()

    @property
    def source(self) -> EmbeddedData | CocoData | MaskData | HubData:
        """The one source that is set."""
        given = [s for s in (self.embedded, self.coco, self.masks, self.hub) if s is not None]
        return given[0]

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [n for n in ("embedded", "coco", "masks", "hub") if getattr(self, n) is not None]
        if len(given) != 1:
            raise ValueError(
                f"needs exactly one source of embedded, coco, masks, hub; got {', '.join(given) or 'none'}"
            )
        return self


class Workload(Spec):
    """What all trials of an experiment share; a worker loads it once."""

    task: Task
    model: ModelSpec = ModelSpec()
    data: DataSpec = DataSpec(embedded=EmbeddedData())
    objective: ObjectiveSpec

    @property
    def direction(self) -> Direction:
        """The objective's direction: as written, else the metric's own."""
        return self.objective.mode or METRICS[self.task].get(
            self.objective.metric.split("/")[0], Direction.MAXIMIZE
        )


# --- adapters ---------------------------------------------------------------------------------


class Adapter(StrEnum):
    """The adapter families; each but `none` has a section of its own name in `TrialConfig`."""

    NONE = "none"
    LORA = "lora"
    ADALORA = "adalora"
    LOHA = "loha"
    LOKR = "lokr"
    SERIAL_LORA = "serial_lora"
    LOCALIZED_LORA = "localized_lora"
    PEFT = "peft"


class LoraSpec(Spec):
    """W x + scale · B(A x); scale alpha/rank, with `rslora` alpha/√rank (Hu 2021, Kalajdzievski 2023)."""

    rank: Rank = 8
    alpha: Positive = 16.0
    dropout: Probability = 0.0
    rslora: bool = False
    dora: bool = False


class AdaloraSpec(Spec):
    """Ranks that shrink from `init_rank` to `target_rank` on average (Zhang 2023).

    tinit, tfinal: shares of the trial's real optimizer steps before the first and after the last
    reallocation.  interval: steps between reallocations.
    """

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


class LohaSpec(Spec):
    """Hadamard product of two low-rank products (Hyeon-Woo 2022)."""

    rank: Rank = 8
    alpha: Positive = 8.0
    rank_dropout: Probability = 0.0
    module_dropout: Probability = 0.0


class LokrSpec(Spec):
    """Kronecker product of two factors (Yeh 2023). decompose_factor -1 picks the squarest split."""

    rank: Rank = 8
    alpha: Positive = 8.0
    rank_dropout: Probability = 0.0
    module_dropout: Probability = 0.0
    decompose_both: bool = False
    decompose_factor: Annotated[int, Field(ge=-1)] = -1


class SerialLoraSpec(Spec):
    """W(x + B(A x)) + b, no scale; one A, B for all targets of a block, or a pair each."""

    rank: Rank = 8
    dropout: Probability = 0.0
    shared: bool = True


class LocalizedLoraSpec(Spec):
    """blocks × blocks local pairs of rank `block_rank`, scaled alpha/block_rank (GraLoRA, Jung 2025)."""

    block_rank: Rank = 4
    blocks: Annotated[int, Field(ge=2, le=256)] = 2
    alpha: Positive = 8.0
    dropout: Probability = 0.0


class PeftSpec(Spec):
    """Any other PEFT method: its PeftType's name (IA3, OFT, VERA, …) and its config's arguments."""

    method: str
    arguments: dict[str, JsonValue] = {}


class Freezing(StrEnum):
    """What trains beside the adapter."""

    HEAD_ONLY = "head_only"
    FROZEN = "frozen"
    UNFROZEN = "unfrozen"
    FULL = "full"
    UNFREEZE_AT = "unfreeze_at"


WITHOUT_ADAPTER = frozenset({Freezing.HEAD_ONLY, Freezing.FULL})
"""Modes that go with adapter `none`; the others need an adapter."""
TRAINS_BACKBONE = frozenset({Freezing.UNFROZEN, Freezing.FULL, Freezing.UNFREEZE_AT})
"""Modes in which backbone weights move, at once or later; only these take `frozen_blocks`."""


class Role(StrEnum):
    """What a linear layer does in its transformer block; `mlp` is both of its layers."""

    QUERY = "query"
    KEY = "key"
    VALUE = "value"
    OUTPUT = "output"
    MLP = "mlp"
    MLP_IN = "mlp_in"
    MLP_OUT = "mlp_out"


# --- training ---------------------------------------------------------------------------------


class Loss(StrEnum):
    """Segmentation losses; detection always uses the model's own Hungarian loss."""

    CROSS_ENTROPY = "cross_entropy"
    DICE = "dice"
    LOG_COSH_DICE = "log_cosh_dice"
    CROSS_ENTROPY_DICE = "cross_entropy_dice"


class Optimizer(StrEnum):
    """Optimizers."""

    ADAMW = "adamw"
    ADAM = "adam"


class Rates(StrEnum):
    """Whether the head shares `learning_rate` or has `head_learning_rate`."""

    TOGETHER = "together"
    APART = "apart"


class Schedule(StrEnum):
    """Learning-rate schedules."""

    CONSTANT = "constant"
    COSINE = "cosine"
    WARMUP_FLAT_DECAY = "warmup_flat_decay"
    PLATEAU = "plateau"


class Precision(StrEnum):
    """fp32, or bf16 autocast over fp32 weights."""

    FP32 = "fp32"
    BF16 = "bf16"


class HeadSpec(Spec):
    """The segmentation head: 3×3 conv to `width` (half the hidden size), norm, dropout, 1×1 conv."""

    width: Count | None = None
    norm: bool = False
    dropout: Probability = 0.0


class EarlyStopping(Spec):
    """Stop after `patience` reports without an improvement of more than `min_delta`."""

    patience: Count = 3
    min_delta: NotNegative = 0.0


class Augment(Spec):
    """Random changes to training images; boxes and masks move along.

    horizontal_flip, vertical_flip: probabilities.  brightness, contrast: largest relative change.
    crop: smallest side kept, as a share of the image's (1 keeps all).
    """

    horizontal_flip: Share = 0.0
    vertical_flip: Share = 0.0
    brightness: Share = 0.0
    contrast: Share = 0.0
    crop: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0


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
    """Roles to adapt; query and value when absent, and key too for serial_lora."""
    blocks: tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]] | None = None
    """First and last transformer block to adapt, both included; all when absent."""

    freezing: Freezing | None = None
    """When absent: head_only with adapter none, frozen with any other."""
    unfreeze_epoch: Count | None = None
    frozen_blocks: Annotated[int, Field(ge=0)] = 0

    head: HeadSpec = HeadSpec()
    loss: Loss | None = None

    optimizer: Optimizer = Optimizer.ADAMW
    learning_rate: Positive = 1e-3
    rates: Rates | None = None
    """When absent: apart if `head_learning_rate` is given."""
    head_learning_rate: Positive | None = None
    weight_decay: NotNegative = 0.01
    schedule: Schedule = Schedule.COSINE
    warmup: Share = 0.05
    """Share of the steps with a linearly rising rate; of cosine and warmup_flat_decay."""
    flat: Share = 0.75
    """Share of the steps at the full rate; of warmup_flat_decay."""
    plateau_patience: Count = 2
    plateau_factor: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.1
    clip_norm: Positive | None = 1.0

    epochs: Annotated[int, Field(ge=0, le=100_000)] = 10
    batch_size: Count = 8
    """Images an optimizer step sees is batch_size · accumulate."""
    accumulate: Count = 1
    precision: Precision = Precision.FP32
    reports_per_epoch: Count = 1
    early_stopping: EarlyStopping | None = None
    augment: Augment = Augment()
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0

    @property
    def section(self) -> Any:
        """The chosen adapter's own settings, its defaults when the section is absent; None for `none`."""
        if self.adapter is Adapter.NONE:
            return None
        given = getattr(self, self.adapter.value)
        return SECTIONS[self.adapter]() if given is None else given

    @property
    def mode(self) -> Freezing:
        """The freezing mode with its default filled in."""
        if self.freezing is not None:
            return self.freezing
        return Freezing.HEAD_ONLY if self.adapter is Adapter.NONE else Freezing.FROZEN

    @property
    def roles(self) -> tuple[Role, ...]:
        """The roles to adapt with their default filled in and `mlp` spelled out, each once."""
        default = (Role.QUERY, Role.VALUE)
        if self.adapter is Adapter.SERIAL_LORA:
            default = (Role.QUERY, Role.KEY, Role.VALUE)  # type: ignore[assignment]
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
                f"freezing '{mode}' goes with adapter 'none'; "
                f"with '{self.adapter}' use frozen, unfrozen or unfreeze_at"
            )
        if (mode is Freezing.UNFREEZE_AT) != (self.unfreeze_epoch is not None):
            found.append("unfreeze_epoch goes with freezing 'unfreeze_at', and that needs it")
        if self.frozen_blocks and mode not in TRAINS_BACKBONE:
            found.append(f"frozen_blocks goes with unfrozen, full or unfreeze_at, not with '{mode}'")
        if self.blocks is not None and self.blocks[0] > self.blocks[1]:
            found.append(f"blocks must run from first to last, got {list(self.blocks)}")
        if self.rates is Rates.TOGETHER and self.head_learning_rate is not None:
            found.append("rates 'together' leaves no head_learning_rate; remove it or use 'apart'")
        if self.rates is Rates.APART and self.head_learning_rate is None:
            found.append("rates 'apart' needs a head_learning_rate")
        if self.adapter is Adapter.PEFT and self.peft is None:
            found.append("adapter 'peft' needs a section peft with a method")
        if self.schedule is Schedule.WARMUP_FLAT_DECAY and self.warmup + self.flat > 1.0:
            found.append("warmup + flat must not exceed 1")
        return found


SECTIONS: dict[Adapter, type[Spec]] = {
    Adapter.LORA: LoraSpec,
    Adapter.ADALORA: AdaloraSpec,
    Adapter.LOHA: LohaSpec,
    Adapter.LOKR: LokrSpec,
    Adapter.SERIAL_LORA: SerialLoraSpec,
    Adapter.LOCALIZED_LORA: LocalizedLoraSpec,
    Adapter.PEFT: PeftSpec,
}


class Report(Spec):
    """What a trial says at a report: its position, its figures on validation images, its cost."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)

    epoch: float
    step: int
    """Optimizer steps done."""
    metrics: dict[str, float]
    objective: float
    """The running objective under its rule: the best so far, or this report's."""
    train_s: float
    evaluate_s: float
    wait_s: float
    """Seconds of `train_s` spent waiting for data."""
    samples: int
    """Training images seen since the last report."""
    peak_mb: float
    """Peak memory: of the device on a GPU, of the process on a CPU."""
    done: bool
    outcome: Literal["completed", "early_stopped", "diverged"] | None = None
