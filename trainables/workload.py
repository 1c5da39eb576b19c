"""What all trials of an experiment share: task, model, data, objective. No torch, no ray."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from trainables.spec import Count, Share, Spec

DOMAIN_NAME = r"[A-Za-z0-9_-]+"
"""What a shifted domain may be called."""


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


class Corruption(StrEnum):
    """Built-in changes of an image's look, see `trainables.data.corruptions`."""

    BLUR = "blur"
    NOISE = "noise"
    CONTRAST = "contrast"
    BRIGHTNESS = "brightness"
    JPEG = "jpeg"
    STYLE = "style"


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

MAIN_FIGURE: dict[Task, str] = {Task.DETECTION: "map", Task.SEGMENTATION: "dice"}
"""The figure of a task whose share under a shift is its robustness."""

ROBUSTNESS = "robustness"
"""A model's main figure in a shifted domain as a share of the one in its own; the mean over domains."""


@dataclass(frozen=True)
class Figure:
    """A metric's name, taken apart: `dice`, `dice/cat`, `dice@blurred`, `robustness@blurred`."""

    base: str
    of_class: str | None = None
    domain: str | None = None

    @classmethod
    def of(cls, metric: str) -> Figure:
        """The parts of `metric`. What follows a '/' is a class, whatever stands in its name."""
        base, slash, of_class = metric.partition("/")
        base, at, domain = base.partition("@")
        return cls(base, of_class if slash else None, domain if at else None)

    def direction(self, task: Task) -> Direction:
        """Which way it is better."""
        return METRICS[task].get(self.base, Direction.MAXIMIZE)


class ValueRule(StrEnum):
    """Which report of a trial gives its value."""

    BEST = "best"
    LAST = "last"


class ObjectiveSpec(Spec):
    """What a sweep optimises, always on validation images.

    metric: a figure of the task, of one class (`dice/cat`), in a domain (`dice@blurred`), or a
    robustness: `robustness@blurred`, or `robustness` for the mean over all domains.
    """

    metric: str
    mode: Direction | None = None
    value: ValueRule = ValueRule.BEST


class ModelSpec(Spec):
    """A pretrained backbone: `embedded`, a hub id, or a local folder in hub format."""

    name: str = "embedded"
    revision: str | None = None
    image_size: tuple[Count, Count] | None = None
    """(height, width) in pixels; the checkpoint's processor decides when absent."""
    new_head: bool = False
    """Start with a new head even where the checkpoint's knows the data's classes, all or some."""
    trust_remote_code: bool = False
    """Whether code that the repository brings along is run; for one that you have read."""


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


class CorruptionSpec(Spec):
    """A built-in change of look, from hardly visible (1) to hardly recognisable (5)."""

    kind: Corruption
    severity: Annotated[int, Field(ge=1, le=5)] = 3


class DomainPart(Spec):
    """Images of a shifted domain: exactly one of a folder pair, a COCO file, or a part of the hub's data."""

    masks: MaskPart | None = None
    coco: CocoPart | None = None
    hub: Annotated[str, Field(min_length=1)] | None = None

    @property
    def kind(self) -> str:
        """Which of the three it is: the kind of source that it goes with."""
        return next(n for n in ("masks", "coco", "hub") if getattr(self, n) is not None)

    @model_validator(mode="after")
    def _one(self) -> Self:
        _exactly_one(self, ("masks", "coco", "hub"))
        return self


class DomainSpec(Spec):
    """A named set of shifted test images: exactly one kind.

    masks, coco, hub: other images, with the classes and values of the data; `validation` gives
    such a domain images for an objective.  embedded: the same scenes in another look.
    corruption: the data's own test images, changed as they are read.
    """

    masks: MaskPart | None = None
    coco: CocoPart | None = None
    hub: Annotated[str, Field(min_length=1)] | None = None
    embedded: Domain | None = None
    corruption: CorruptionSpec | None = None
    validation: DomainPart | None = None

    @property
    def kind(self) -> str:
        """Which of the five it is."""
        return next(n for n in _DOMAIN_KINDS if getattr(self, n) is not None)

    @property
    def has_validation(self) -> bool:
        """Whether there are validation images in it, for an objective."""
        return self.validation is not None or self.kind in ("embedded", "corruption")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        _exactly_one(self, _DOMAIN_KINDS)
        if self.validation is not None:
            if self.kind in ("embedded", "corruption"):
                raise ValueError(
                    f"of kind {self.kind} has validation images already, those of the data; remove validation"
                )
            if self.validation.kind != self.kind:
                raise ValueError(
                    f"of kind {self.kind} needs validation of the same kind, got {self.validation.kind}"
                )
        return self


_SOURCES = ("embedded", "coco", "masks", "hub")
_DOMAIN_KINDS = ("masks", "coco", "hub", "embedded", "corruption")


def _exactly_one(spec: Spec, kinds: tuple[str, ...]) -> None:
    given = [n for n in kinds if getattr(spec, n) is not None]
    if len(given) != 1:
        raise ValueError(f"needs exactly one of {', '.join(kinds)}; got {' and '.join(given) or 'none'}")


class SplitSpec(Spec):
    """Shares for parts that the source does not give, drawn by image with a seed.

    folds: what is left after `test` in so many parts, of which number `fold` (from 0 on) is for
    validation and the others are for training; `train` and `validation` say nothing then.
    """

    train: Share = 0.7
    validation: Share = 0.15
    test: Share = 0.15
    seed: Annotated[int, Field(ge=0)] = 0
    folds: Annotated[int, Field(ge=2)] | None = None
    fold: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.folds is None and self.fold:
            raise ValueError(f"fold {self.fold} needs folds: in how many parts the images are divided")
        if self.folds is not None:
            if self.fold >= self.folds:
                raise ValueError(f"fold must be 0 to {self.folds - 1} of {self.folds} folds, got {self.fold}")
            if self.test >= 1:
                raise ValueError("test must be below 1, so that images are left for the folds")
            return self
        if abs(self.train + self.validation + self.test - 1.0) > 1e-6:
            raise ValueError("train, validation and test must add up to 1")
        if not self.train or not self.validation:
            raise ValueError("train and validation must both be above 0")
        return self


FOLDS_TAKEN = (
    "divides the images of train, but the data has validation images of its own; "
    "leave out folds, or give no validation images"
)
"""Why a source that gives its own validation part cannot be divided into folds."""


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
    """Exactly one source, how it is split and checked, and the shifts that models are tested under.

    train_fraction: the share of the training images that trials see. Seeded, and a smaller one lies
    inside a larger one; validation and test are the same whatever it is.
    """

    embedded: EmbeddedData | None = None
    coco: CocoData | None = None
    masks: MaskData | None = None
    hub: HubData | None = None
    splits: SplitSpec = SplitSpec()
    faults: FaultRules = FaultRules()
    train_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    domains: dict[str, DomainSpec] = Field(default_factory=dict)
    """Shifted test sets by name."""

    @field_validator("domains")
    @classmethod
    def _names(cls, domains: dict[str, DomainSpec]) -> dict[str, DomainSpec]:
        for name in domains:
            if not re.fullmatch(DOMAIN_NAME, name):
                raise ValueError(f"names must be of letters, digits, '_' and '-', got '{name}'")
        return domains

    @property
    def source(self) -> EmbeddedData | CocoData | MaskData | HubData:
        """The one source that is set."""
        source: EmbeddedData | CocoData | MaskData | HubData = getattr(self, self.kind)
        return source

    @property
    def kind(self) -> str:
        """Its name: embedded, coco, masks or hub."""
        return next(n for n in _SOURCES if getattr(self, n) is not None)

    @property
    def gives_validation(self) -> bool:
        """Whether the source names its validation images itself."""
        return self.source.validation is not None

    @property
    def gives_test(self) -> bool:
        """Whether there are test images, of the source's or split off."""
        return self.source.test is not None or self.splits.test > 0

    def unfit(self, domain: DomainSpec) -> str | None:
        """Why a domain does not go with this data; None where it does."""
        if domain.corruption is not None or domain.kind == self.kind:
            return None
        own = {"embedded": "embedded: textured", "hub": "hub: PART"}.get(self.kind, f"{self.kind}: {{…}}")
        return (
            f"is of kind {domain.kind}, but the data is {self.kind}, whose classes it takes; "
            f"use {own}, or corruption: {{kind: blur, severity: 3}}"
        )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [n for n in _SOURCES if getattr(self, n) is not None]
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
        return self.objective.mode or Figure.of(self.objective.metric).direction(self.task)

    @property
    def watched(self) -> tuple[str, ...]:
        """The domains whose validation figures the objective needs."""
        figure = Figure.of(self.objective.metric)
        if figure.domain is not None:
            return (figure.domain,)
        return tuple(self.data.domains) if figure.base == ROBUSTNESS else ()
