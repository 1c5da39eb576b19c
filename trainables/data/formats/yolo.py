"""Data in the layout of YOLO: a `data.yaml`, folders of images, and a label file for each image.

Detection takes boxes, and the box around each polygon; segmentation draws masks from polygons.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from trainables.data.faults import Action, Fault, Finding
from trainables.data.files.drawn import ASSUMED
from trainables.data.files.drawn_masks import Outline, Shape, draw_mask, with_background
from trainables.data.files.file_names import file_identity
from trainables.data.files.pixels import Photo, read_photo
from trainables.data.formats.yolo_file import LIST, PARTS, YoloFile, YoloImage, load_yolo_file
from trainables.data.formats.yolo_labels import YoloLabels, YoloRow, load_labels, wrong_numbers, wrong_shares
from trainables.data.sample import (
    Annotations,
    Array,
    DataPart,
    DataSource,
    Sample,
    Tally,
    check_names_alike,
    unknown_classes,
)
from trainables.errors import DataError
from trainables.specs.data import Split, background_among
from trainables.specs.data_formats import YoloData, YoloPart
from trainables.wording import few, plural

UNLABELLED = "no label file"
"""What is noticed of an image without a label file: it is read as one without objects."""
BESIDE = "polygons among boxes"
"""What is noticed of an image whose label file has both."""
CLASS_LIST = "classes.txt"
"""What labelling tools write beside label files."""
THREADS = 8
"""Files that are read at once."""

Given = Mapping[Split, tuple[str, YoloFile, str]]
"""The parts to read, each with its key in the experiment file, its `data.yaml`, and its name there."""


@dataclass(frozen=True, eq=False)
class YoloSample:
    """An image and its rows. labels: (n,) the class index of each.

    background: the class index of pixels which no polygon covers, for segmentation; None for detection.
    """

    name: str
    path: Path
    rows: YoloLabels
    labels: Array
    tally: Tally
    file: Path
    bits: int | None = None
    background: int | None = None

    @cached_property
    def origin(self) -> str:
        """The image file, however it is spelled."""
        return file_identity(self.path)

    @property
    def files(self) -> tuple[Path, ...]:
        """The image file, and that of its labels if there is one."""
        return (self.path, self.file) if self.rows.exists else (self.path,)

    def photo(self) -> Photo:
        """The image, upright."""
        return read_photo(self.path, bits=self.bits)

    def annotations(self, photo: Photo | None = None) -> Annotations:
        """The boxes on the upright image, which shares are of in YOLO; of a polygon, the box around it."""
        photo = photo or self.photo()
        if photo.orientation != 1 and self.rows.rows:
            self.tally.add(ASSUMED, self.name)
        height, width = photo.upright
        size = np.array([width, height])
        boxes = [_pixels(row, width, height) for row in self.rows.rows]
        drawn = [row.polygon is not None for row in self.rows.rows]
        outlines = [box if around else [np.nan] * 4 for box, around in zip(boxes, drawn, strict=True)]
        found = Annotations.of(
            boxes,
            self.labels.tolist(),
            [np.nan] * len(boxes),
            [False] * len(boxes),
            outlines=outlines,
            drawn=drawn,
            shapes=[
                None if row.polygon is None else Outline((row.polygon * size,)) for row in self.rows.rows
            ],
        )
        return replace(found, judged=False)

    def mask(self, photo: Photo | None = None) -> Array | None:
        """(height, width) uint8 class indices on the upright image, drawn from polygons; None for detection.

        Raises ValueError for a row that is no polygon.
        """
        if self.background is None:
            return None
        for problem in (*self.rows.wrong, *self.rows.boxes):
            raise ValueError(problem)
        photo = photo or self.photo()
        if photo.orientation != 1 and self.rows.rows:
            self.tally.add(ASSUMED, self.name)
        size = np.array(photo.upright[::-1])
        shapes = [
            Shape(int(label), Outline((row.polygon * size,)))
            for label, row in zip(self.labels, self.rows.rows, strict=True)
            if row.polygon is not None
        ]
        return draw_mask(shapes, photo.upright, self.background)


def _pixels(row: YoloRow, width: int, height: int) -> list[float]:
    """xywh in pixels."""
    size = np.array([width, height])
    if row.polygon is not None:
        low, high = row.polygon.min(axis=0) * size, row.polygon.max(axis=0) * size
        return [*low.tolist(), *(high - low).tolist()]
    # Sides first: a box of whole pixels in an image with sides of 2^n then comes out exactly.
    sides = row.box[2:] * size
    return [*(row.box[:2] * size - sides / 2).tolist(), *sides.tolist()]


def read_yolo(
    spec: YoloData, classes: Sequence[str] | None = None, bits: int | None = None, *, masks: bool = False
) -> DataSource:
    """Read the parts that the `data.yaml` names. Classes are its names, in the order of their numbers.

    classes: used instead; every object must then have one of them.  bits: those that deep images use.
    masks: draw a mask of classes for each image, for segmentation; its first class is the background.
    Raises DataError for what is not such a data set, and for labels that are clearly in another form.
    """
    file = load_yolo_file(spec.file)
    if "train" not in file.given:
        raise DataError(f"{file.path} must name train, got {', '.join(file.given)}")
    return read_yolo_parts(own_parts(file), classes, bits, masks=masks)


def own_parts(file: YoloFile) -> dict[Split, tuple[str, YoloFile, str]]:
    """The parts that a `data.yaml` names, as `Given`."""
    return {split: (f"data.yolo.{part}", file, part) for split, part in PARTS.items() if part in file.given}


def domain_parts_of(given: Mapping[Split, tuple[str, YoloPart]]) -> dict[Split, tuple[str, YoloFile, str]]:
    """The parts of a shifted domain, as `Given`. Raises DataError."""
    found: dict[Split, tuple[str, YoloFile, str]] = {}
    for split, (where, part) in given.items():
        file = load_yolo_file(part.file, f"{where}.file")
        if part.part not in file.given:
            raise DataError(f"{where}: {file.path} must name {part.part}, but it has {', '.join(file.given)}")
        found[split] = (where, file, part.part)
    return found


def read_yolo_parts(
    given: Given, classes: Sequence[str] | None, bits: int | None = None, *, masks: bool = False
) -> DataSource:
    """See `read_yolo`."""
    if classes is None:
        classes = tuple(dict.fromkeys(name for _, file, _ in given.values() for name in file.classes))
        check_names_alike([(where, file.classes) for where, file, _ in given.values()])
        classes = with_background(classes) if masks else classes
    background = (background_among(classes) or classes[0]) if masks else None
    parts = {
        split: _read_part(file, part, classes, split, where, bits, background)
        for split, (where, file, part) in given.items()
    }
    return DataSource(tuple(classes), parts, background)


def yolo_files(given: Given) -> dict[str, dict[str, Path]]:
    """The files that each part depends on by their names: images, and labels that exist."""
    found: dict[str, dict[str, Path]] = {}
    for split, (_, file, part) in given.items():
        images = file.images(part)
        found[f"{split}.images"] = {image.name: image.path for image in images}
        found[f"{split}.labels"] = {image.name: image.labels for image in images if image.labels.is_file()}
    return found


def check_yolo(spec: YoloData, probed: int, *, masks: bool = False) -> None:
    """A quick look: all that is named exists, and the first `probed` label files of each part are sound.

    masks: whether polygons are needed.  Raises DataError.
    """
    file = load_yolo_file(spec.file)
    if "train" not in file.given:
        raise DataError(f"{file.path} must name train, got {', '.join(file.given)}")
    for where, _, part in own_parts(file).values():
        check_part(file, part, where, probed, masks=masks)


def check_part(file: YoloFile, part: str, where: str, probed: int, *, masks: bool = False) -> None:
    """See `check_yolo`."""
    images = file.images(part)[:probed]
    _require_sound(
        [load_labels(image.labels, file.names, file.points) for image in images], images, file, where, masks
    )


def _read_part(
    file: YoloFile,
    part: str,
    classes: Sequence[str],
    split: Split,
    where: str,
    bits: int | None,
    background: str | None,
) -> DataPart:
    images, tally = file.images(part), Tally()
    read = partial(load_labels, names=file.names, points=file.points)
    with ThreadPoolExecutor(THREADS) as pool:
        labels = list(pool.map(read, [image.labels for image in images]))
    masks = background is not None
    _require_sound(labels, images, file, where, masks)
    place = {name: i for i, name in enumerate(classes)}
    used = {file.names[row.number] for each in labels for row in each.rows}
    if unknown := [name for name in file.classes if name in used and name not in place]:
        raise DataError(unknown_classes(f"{where}: {file.path}", unknown, classes))
    samples: list[Sample] = []
    for image, each in zip(images, labels, strict=True):
        indices = np.array([place[file.names[row.number]] for row in each.rows], np.int64)
        below = None if background is None else place[background]
        samples.append(YoloSample(image.name, image.path, each, indices, tally, image.labels, bits, below))
        if not each.exists:
            tally.add(UNLABELLED, image.name)
        if len({row.polygon is None for row in each.rows}) > 1:
            tally.add(BESIDE, image.name)
    remarks = (
        *file.remarks,
        *_remarks(tally, len(images), where, masks),
        *_orphans(file, part, images, where),
    )
    return DataPart(samples, tuple(_faults(images, labels, split, masks)), remarks, tally)


def _orphans(file: YoloFile, part: str, images: Sequence[YoloImage], where: str) -> Iterator[str]:
    """What is said of label files without an image; they can be told only in folders of one part's labels."""
    if any(given.endswith(LIST) for given in file.given[part]):
        return
    known = {image.labels for image in images}
    folders = {image.labels.parent for image in images} - {image.path.parent for image in images}
    held = [path for folder in folders if folder.is_dir() for path in folder.glob(f"*{LIST}")]
    names = sorted(path.name for path in held if path not in known and path.name != CLASS_LIST)
    if names:
        verbs = "has no image and does" if len(names) == 1 else "have no image and do"
        yield f"{where}: {plural(len(names), 'label file')} {verbs} not count ({few(names)})"


def _require_sound(
    labels: Sequence[YoloLabels], images: Sequence[YoloImage], file: YoloFile, where: str, masks: bool
) -> None:
    """Raise DataError for labels that are clearly not those of these images, or in another form.

    masks: whether polygons are needed.
    """
    if not any(each.exists for each in labels):
        raise DataError(
            f"{where}: images must have label files, but none of {plural(len(images), 'image')} has one; "
            "that of "
            f"{images[0].path} must be {images[0].labels}"
        )
    for reason in (wrong_numbers(labels, file.names), wrong_shares(labels)):
        if reason is not None:
            raise DataError(f"{where}: {reason}")
    rows = [row for each in labels for row in each.rows]
    if masks and rows and all(row.polygon is None for row in rows):
        raise DataError(
            f"{where}: masks are drawn from polygons, but none of {plural(len(rows), 'object')} has one; use "
            "task: detection for boxes"
        )


def _faults(
    images: Sequence[YoloImage], labels: Sequence[YoloLabels], split: Split, masks: bool
) -> Iterator[Finding]:
    for image, each in zip(images, labels, strict=True):
        for detail in () if masks else each.wrong:  # a mask without an object would be a wrong one
            yield Finding(split, image.name, Fault.BAD_BOX, Action.BOX_DROPPED, detail)
        for detail in each.twice:
            yield Finding(split, image.name, Fault.BAD_BOX, Action.IGNORED, detail)


def _remarks(tally: Tally, count: int, where: str, masks: bool) -> Iterator[str]:
    noticed = tally.names()
    if names := noticed.get(UNLABELLED):
        verbs = "has no label file and counts as an image", "have no label file and count as images"
        yield (
            f"{where}: {len(names)} of {plural(count, 'image')} {verbs[len(names) > 1]} without objects"
            f" ({few(names)})"
        )
    if (names := noticed.get(BESIDE)) and not masks:
        yield (
            f"{where}: {plural(len(names), 'label file')} with polygons among boxes; of a polygon, the box "
            "around it "
            f"is used ({few(names)})"
        )
