"""What all trials of an experiment share: task, model, data, objective. No torch, no ray."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from trainables.spec import Count, Share, Spec


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
