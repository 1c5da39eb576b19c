"""Data in the layouts of annotation tools: YOLO, Pascal VOC, LabelMe; and which keys of sources are paths."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from trainables.specs.base import Spec


class YoloPart(Spec):
    """One part of a YOLO data set, as its `data.yaml` names it."""

    file: str
    part: Literal["train", "val", "test"] = "test"


class YoloData(Spec):
    """A YOLO data set: the `data.yaml` that names its classes, images and parts.

    Parts that the file does not name are split off its `train`.
    """

    file: str


class VocPart(Spec):
    """A folder of images, one of Pascal VOC's XML files, and a list of those that count.

    list: a file of `ImageSets/Main`, with the name of an XML file, without suffix, in each line. All XML
    files when absent.
    """

    images: str
    annotations: str
    list: str | None = None


class VocCoordinates(StrEnum):
    """What the corners of a Pascal VOC box are.

    PIXELS: its first and its last pixel, counted from 1, as VOC defines it.
    EDGES: distances from the image's left and upper edge, as some tools write them.
    """

    PIXELS = "pixels"
    EDGES = "edges"


class Difficult(StrEnum):
    """What objects count as that are marked as difficult.

    IGNORE: as a crowd does: not learned, neither found nor missed in metrics.  COUNT: as all others.
    """

    IGNORE = "ignore"
    COUNT = "count"


class VocData(Spec):
    """Detection data in XML files of Pascal VOC. Absent parts are split off `train`.

    classes: their names in order; those that the objects have, in alphabetical order, when absent.
    """

    train: VocPart
    validation: VocPart | None = None
    test: VocPart | None = None
    classes: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    difficult: Difficult = Difficult.IGNORE
    coordinates: VocCoordinates = VocCoordinates.PIXELS


class LabelmePart(Spec):
    """A folder of LabelMe's JSON files, each with its image beside it or where the file says."""

    folder: str


class LabelmeData(Spec):
    """Data in LabelMe's JSON files. Absent parts are split off `train`.

    classes: their names in order; the labels in alphabetical order when absent. For segmentation the
    background is the class that is called so, or one more.
    """

    train: LabelmePart
    validation: LabelmePart | None = None
    test: LabelmePart | None = None
    classes: Annotated[tuple[str, ...], Field(min_length=1)] | None = None


class FolderData(Spec):
    """A folder whose format is found out when it is read."""

    path: str


PATHS_OF_PARTS: Mapping[str, tuple[str, ...]] = {
    "coco": ("images", "annotations"),
    "masks": ("images", "masks"),
    "voc": ("images", "annotations", "list"),
    "labelme": ("folder",),
}
"""The keys of local paths in each part of a source; a shifted domain has them as well."""
PATHS_OF_SOURCES: Mapping[str, str] = {"hub": "path", "yolo": "file"}
"""The key of the path of sources that name one for all of their parts."""
