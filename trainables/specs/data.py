"""The data section of an experiment: its source, how it is split and checked, and its shifted domains."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import Field, field_validator, model_validator

from trainables.specs.base import Count, NotNegative, Spec
from trainables.specs.data_formats import (
    FolderData,
    LabelmeData,
    LabelmePart,
    VocData,
    VocPart,
    YoloData,
    YoloPart,
)
from trainables.specs.data_splits import SplitSpec

BACKGROUND = "background"
"""The name of the class that is the background unless the data say otherwise."""
DOMAIN_NAME = r"[A-Za-z0-9_-]+"
"""The pattern of a shifted domain's name."""


def background_among(classes: Sequence[str], named: str | None = None) -> str | None:
    """The background class: `named`, or else the one called 'background'. None if there is no such class.

    Upper case and blanks at the ends do not matter, unless several classes differ in nothing else.
    """
    wanted = named or BACKGROUND
    if wanted in classes:
        return wanted
    alike = [name for name in classes if name.strip().casefold() == wanted.strip().casefold()]
    return alike[0] if len(alike) == 1 else None


class Split(StrEnum):
    """The splits of a data set."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


class Domain(StrEnum):
    """The domains of the embedded data: the clean source and three shifted targets."""

    CLEAN = "clean"
    INVERTED = "inverted"
    TEXTURED = "textured"
    NOISY = "noisy"


class Corruption(StrEnum):
    """The built-in corruptions of an image, see `trainables.data.corruptions`."""

    BLUR = "blur"
    NOISE = "noise"
    CONTRAST = "contrast"
    BRIGHTNESS = "brightness"
    JPEG = "jpeg"
    STYLE = "style"


class EmbeddedData(Spec):
    """Scenes of handwritten digits, see `trainables.data.embedded`."""

    domain: Domain = Domain.INVERTED
    train: Count = 256
    validation: Count = 64
    test: Count = 64
    side: Annotated[int, Field(ge=32, le=512)] = 64
    seed: Annotated[int, Field(ge=0)] = 0


class CocoPart(Spec):
    """A folder of images and the COCO JSON file with their annotations."""

    images: str
    annotations: str


class CocoData(Spec):
    """Detection data in COCO JSON. Absent splits are split off `train`."""

    train: CocoPart
    validation: CocoPart | None = None
    test: CocoPart | None = None


class MaskPart(Spec):
    """A folder of images and one of masks; an image and its mask have the same file name without suffix."""

    images: str
    masks: str


class MaskRules(Spec):
    """What the pixels of masks stand for.

    A mask pixel holds an index into `classes`, or, with `values`, the grey value of its class: `values`
    lists one grey value per class, in the order of `classes`. Pixels with the value `ignore` are not counted.
    background: the class of pixels that show no object; the class named 'background' when absent.
    """

    classes: Annotated[tuple[str, ...], Field(min_length=2)]
    values: tuple[int, ...] | None = None
    ignore: int | None = None
    background: str | None = None

    @property
    def background_class(self) -> str | None:
        """The background's name in `classes`; None if the data name none."""
        return background_among(self.classes, self.background)

    @model_validator(mode="after")
    def _background_is_a_class(self) -> Self:
        if self.background is not None and self.background not in self.classes:
            raise ValueError(
                f"background must be one of classes ({', '.join(self.classes)}), got '{self.background}'"
            )
        return self


class MaskData(MaskRules):
    """Segmentation data in image and mask folders. Absent splits are split off `train`.

    suffix: what a mask's name has after its image's name, such as `_mask` or `_mask.png`; images and masks
    may then be in one folder.
    """

    train: MaskPart
    validation: MaskPart | None = None
    test: MaskPart | None = None
    suffix: Annotated[str, Field(min_length=1)] | None = None


class HubBoxes(StrEnum):
    """The form of a box: [x0, y0, x1, y1], or [x, y, width, height]."""

    XYXY = "xyxy"
    XYWH = "xywh"


class HubData(Spec):
    """A data set for `datasets.load_dataset`: boxes in the format of `detection-datasets/coco`, or masks.

    image, mask: the columns of images and masks; found by their features and names when absent.
    boxes: the form of boxes; what their areas and the images' sizes show when absent.
    classes, values, ignore, background: for masks, see `MaskRules`.
    """

    path: str
    name: str | None = None
    revision: str | None = None
    train: str = "train"
    validation: str | None = None
    test: str | None = None
    image: str | None = None
    boxes: HubBoxes | None = None
    mask: str | None = None
    classes: Annotated[tuple[str, ...], Field(min_length=2)] | None = None
    values: tuple[int, ...] | None = None
    ignore: int | None = None
    background: str | None = None


class CorruptionSpec(Spec):
    """A built-in corruption, with a severity from 1 (hardly visible) to 5 (hardly recognisable)."""

    kind: Corruption
    severity: Annotated[int, Field(ge=1, le=5)] = 3


class OwnImages(Spec):
    """Images that a domain may have of its own: mask folders, COCO, VOC, YOLO or LabelMe data, or a split of
    the hub data set.
    """

    masks: MaskPart | None = None
    coco: CocoPart | None = None
    voc: VocPart | None = None
    yolo: YoloPart | None = None
    labelme: LabelmePart | None = None
    hub: Annotated[str, Field(min_length=1)] | None = None

    @property
    def kind(self) -> str:
        """The kind of source that is set."""
        return next(n for n in _DOMAIN_KINDS if getattr(self, n, None) is not None)

    @property
    def images(self) -> Any:
        """What is set."""
        return getattr(self, self.kind)


class DomainPart(OwnImages):
    """Images of a shifted domain, of exactly one kind."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        _exactly_one(self, _PART_KINDS)
        return self


class DomainSpec(OwnImages):
    """A named set of shifted test images, of exactly one kind.

    Its own images have the classes and values of the data; `validation` adds validation images, for an
    objective under shift.  embedded: the same scenes in another domain.
    corruption: the data's own test images, corrupted as they are read.
    """

    embedded: Domain | None = None
    corruption: CorruptionSpec | None = None
    validation: DomainPart | None = None

    @property
    def has_validation(self) -> bool:
        """Whether the domain has validation images, for an objective under shift."""
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


Source = EmbeddedData | CocoData | MaskData | HubData | YoloData | VocData | LabelmeData | FolderData
_SOURCES = ("embedded", "coco", "masks", "hub", "yolo", "voc", "labelme", "folder")
_PART_KINDS = ("masks", "coco", "voc", "yolo", "labelme", "hub")
_DOMAIN_KINDS = (*_PART_KINDS, "embedded", "corruption")


def _exactly_one(spec: Spec, kinds: tuple[str, ...]) -> None:
    given = [n for n in kinds if getattr(spec, n) is not None]
    if len(given) != 1:
        raise ValueError(f"needs exactly one of {', '.join(kinds)}; got {' and '.join(given) or 'none'}")


class FaultRule(StrEnum):
    """What to do with an image that has an error: drop and list it, keep it, or stop the preparation."""

    DROP = "drop"
    STOP = "stop"
    KEEP = "keep"


class FaultRules(Spec):
    """A rule for each kind of data error that preparation checks. A bad box is dropped, but not its image.

    `keep` is valid for `empty_mask` only: an image that shows only background is a negative example.
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
                "must be drop or stop, got keep; keep is valid for empty_mask only, as an image that shows "
                "only background is a negative example: with this error nothing valid is left to keep"
            )
        return rule


class DataSpec(Spec):
    """Exactly one source, how it is split and checked, and the shifted domains that models are tested on.

    bits: how many bits the grey values of images with more than 8 bits use, such as 12 for many cameras and
    scanners, or 8 for values of 0 to 255 in files of 16 bits; 16 when absent. `predict` scales its images
    alike.
    train_fraction: the share of the training images that trials use. It is drawn with a seed, a smaller
    share is a subset of a larger one, and validation and test do not depend on it.
    folder: a folder of data whose format is found out when it is read.
    cache_gb: the space in the cache folder of each machine for what frozen blocks compute of the images, in
    10^9 bytes; 0: it is computed in every step.
    """

    embedded: EmbeddedData | None = None
    coco: CocoData | None = None
    masks: MaskData | None = None
    hub: HubData | None = None
    yolo: YoloData | None = None
    voc: VocData | None = None
    labelme: LabelmeData | None = None
    folder: Annotated[str, Field(min_length=1)] | None = None
    splits: SplitSpec = SplitSpec()
    faults: FaultRules = FaultRules()
    bits: Annotated[int, Field(ge=8, le=31)] | None = None
    train_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    cache_gb: NotNegative = 10.0
    domains: dict[str, DomainSpec] = Field(default_factory=dict)
    """Shifted test sets by name."""

    @field_validator("domains")
    @classmethod
    def _names(cls, domains: dict[str, DomainSpec]) -> dict[str, DomainSpec]:
        for name in domains:
            if not re.fullmatch(DOMAIN_NAME, name):
                raise ValueError(f"names must consist of letters, digits, '_' and '-', got '{name}'")
        return domains

    @property
    def source(self) -> Source:
        """The one source that is set."""
        source: Source = FolderData(path=self.folder) if self.folder else getattr(self, self.kind)
        return source

    @property
    def kind(self) -> str:
        """Its name, the key that is set."""
        return next(n for n in _SOURCES if getattr(self, n) is not None)

    @property
    def background(self) -> str | None:
        """The class of masks that the data declare to be the background."""
        return getattr(self.source, "background", None)

    @property
    def gives_validation(self) -> bool:
        """Whether the source names its validation images here; some files of data name them, too."""
        return getattr(self.source, "validation", None) is not None

    @property
    def gives_test(self) -> bool:
        """Whether there are test images, of the source's or split off, or may be in its files."""
        return (
            self.kind in ("yolo", "folder")
            or getattr(self.source, "test", None) is not None
            or self.splits.test > 0
        )

    def unfit(self, domain: DomainSpec) -> str | None:
        """Why a domain does not fit this data; None if it fits."""
        if domain.corruption is not None or self.kind in (domain.kind, "folder"):
            return None
        own = {"embedded": "embedded: textured", "hub": "hub: PART"}.get(self.kind, f"{self.kind}: {{…}}")
        return (
            f"is of kind {domain.kind}, but it must have the classes of the data, which is {self.kind}; "
            f"use {own}, or corruption: {{kind: blur, severity: 3}}"
        )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [n for n in _SOURCES if getattr(self, n) is not None]
        if len(given) != 1:
            raise ValueError(
                f"needs exactly one source of {', '.join(_SOURCES)}; got {', '.join(given) or 'none'}"
            )
        return self
