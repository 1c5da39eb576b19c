"""Detection data in the layout of YOLO: a `data.yaml`, folders of images, and a label file for each image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from trainables.data.faults import Action, Fault, Finding
from trainables.data.files.drawn import ASSUMED
from trainables.data.files.file_names import file_identity
from trainables.data.files.pixels import Photo, read_photo
from trainables.data.formats.yolo_file import PARTS, YoloFile, YoloImage, load_yolo_file
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
from trainables.specs.data import Split
from trainables.specs.data_formats import YoloData, YoloPart
from trainables.wording import few, plural

UNLABELLED = "no label file"
"""What is noticed of an image without a label file: it is read as one without objects."""
BESIDE = "polygons among boxes"
"""What is noticed of an image whose label file has both."""
THREADS = 8
"""Files that are read at once."""

Given = Mapping[Split, tuple[str, YoloFile, str]]
"""The parts to read, each with its key in the experiment file, its `data.yaml`, and its name there."""


@dataclass(frozen=True, eq=False)
class YoloSample:
    """An image and its rows. labels: (n,) the class index of each."""

    name: str
    path: Path
    rows: YoloLabels
    labels: Array
    tally: Tally
    file: Path
    bits: int | None = None

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
        )
        return replace(found, judged=False)

    def mask(self, photo: Photo | None = None) -> None:
        """No mask."""


def _pixels(row: YoloRow, width: int, height: int) -> list[float]:
    """xywh in pixels."""
    size = np.array([width, height])
    if row.polygon is not None:
        low, high = row.polygon.min(axis=0) * size, row.polygon.max(axis=0) * size
        return [*low.tolist(), *(high - low).tolist()]
    # Sides first: a box of whole pixels in an image with sides of 2^n then comes out exactly.
    sides = row.box[2:] * size
    return [*(row.box[:2] * size - sides / 2).tolist(), *sides.tolist()]


def read_yolo(spec: YoloData, classes: Sequence[str] | None = None, bits: int | None = None) -> DataSource:
    """Read the parts that the `data.yaml` names. Classes are its names, in the order of their numbers.

    classes: used instead; every object must then have one of them.  bits: those that deep images use.
    Raises DataError for what is not such a data set, and for labels that are clearly in another form.
    """
    file = load_yolo_file(spec.file)
    if "train" not in file.given:
        raise DataError(f"{file.path} must name train, got {', '.join(file.given)}")
    return read_yolo_parts(own_parts(file), classes, bits)


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


def read_yolo_parts(given: Given, classes: Sequence[str] | None, bits: int | None = None) -> DataSource:
    """See `read_yolo`."""
    if classes is None:
        classes = tuple(dict.fromkeys(name for _, file, _ in given.values() for name in file.classes))
        check_names_alike([(where, file.classes) for where, file, _ in given.values()])
    parts = {
        split: _read_part(file, part, classes, split, where, bits)
        for split, (where, file, part) in given.items()
    }
    return DataSource(tuple(classes), parts)


def yolo_files(given: Given) -> dict[str, dict[str, Path]]:
    """The files that each part depends on by their names: images, and labels that exist."""
    found: dict[str, dict[str, Path]] = {}
    for split, (_, file, part) in given.items():
        images = file.images(part)
        found[f"{split}.images"] = {image.name: image.path for image in images}
        found[f"{split}.labels"] = {image.name: image.labels for image in images if image.labels.is_file()}
    return found


def check_yolo(spec: YoloData, probed: int) -> tuple[str, ...]:
    """A quick look: all that is named exists, and the first `probed` label files of each part are sound.

    Returns the classes. Raises DataError.
    """
    file = load_yolo_file(spec.file)
    if "train" not in file.given:
        raise DataError(f"{file.path} must name train, got {', '.join(file.given)}")
    for where, _, part in own_parts(file).values():
        check_part(file, part, where, probed)
    return file.classes


def check_part(file: YoloFile, part: str, where: str, probed: int) -> None:
    """See `check_yolo`."""
    images = file.images(part)[:probed]
    _require_sound(
        [load_labels(image.labels, file.names, file.points) for image in images], images, file, where
    )


def _read_part(
    file: YoloFile, part: str, classes: Sequence[str], split: Split, where: str, bits: int | None
) -> DataPart:
    images, tally = file.images(part), Tally()
    read = partial(load_labels, names=file.names, points=file.points)
    with ThreadPoolExecutor(THREADS) as pool:
        labels = list(pool.map(read, [image.labels for image in images]))
    _require_sound(labels, images, file, where)
    place = {name: i for i, name in enumerate(classes)}
    used = {file.names[row.number] for each in labels for row in each.rows}
    if unknown := [name for name in file.classes if name in used and name not in place]:
        raise DataError(unknown_classes(f"{where}: {file.path}", unknown, classes))
    samples: list[Sample] = []
    for image, each in zip(images, labels, strict=True):
        indices = np.array([place[file.names[row.number]] for row in each.rows], np.int64)
        samples.append(YoloSample(image.name, image.path, each, indices, tally, image.labels, bits))
        if not each.exists:
            tally.add(UNLABELLED, image.name)
        if len({row.polygon is None for row in each.rows}) > 1:
            tally.add(BESIDE, image.name)
    remarks = (*file.remarks, *_remarks(tally, len(images), where))
    return DataPart(samples, tuple(_faults(images, labels, split)), remarks, tally)


def _require_sound(
    labels: Sequence[YoloLabels], images: Sequence[YoloImage], file: YoloFile, where: str
) -> None:
    """Raise DataError for labels that are clearly not those of these images, or in another form."""
    if not any(each.exists for each in labels):
        raise DataError(
            f"{where}: images must have label files, but none of {plural(len(images), 'image')} has one; "
            "that of "
            f"{images[0].path} must be {images[0].labels}"
        )
    for reason in (wrong_numbers(labels, file.names), wrong_shares(labels)):
        if reason is not None:
            raise DataError(f"{where}: {reason}")


def _faults(images: Sequence[YoloImage], labels: Sequence[YoloLabels], split: Split) -> Iterator[Finding]:
    for image, each in zip(images, labels, strict=True):
        for detail in each.wrong:
            yield Finding(split, image.name, Fault.BAD_BOX, Action.BOX_DROPPED, detail)
        for detail in each.twice:
            yield Finding(split, image.name, Fault.BAD_BOX, Action.IGNORED, detail)


def _remarks(tally: Tally, count: int, where: str) -> Iterator[str]:
    noticed = tally.names()
    if names := noticed.get(UNLABELLED):
        have = "has" if len(names) == 1 else "have"
        yield (
            f"{where}: {len(names)} of {plural(count, 'image')} {have} no label file and count as images "
            "without "
            f"objects ({few(names)})"
        )
    if names := noticed.get(BESIDE):
        yield (
            f"{where}: {plural(len(names), 'label file')} with polygons among boxes; of a polygon, the box "
            "around it "
            f"is used ({few(names)})"
        )
