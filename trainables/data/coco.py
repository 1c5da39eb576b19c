"""Detection data in COCO JSON."""

from __future__ import annotations

import errno
import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from pydantic import JsonValue

from trainables.data.faults import SLACK, Action, Fault, Finding
from trainables.data.files.coco_file import CocoFile, Entry, ImageEntry, load_coco_file
from trainables.data.files.drawn import ASSUMED, Custom, Drawn, Probe, by_size
from trainables.data.files.drawn_masks import Drawing, Shape, with_background
from trainables.data.files.file_names import Folder, file_identity
from trainables.data.files.pixels import Photo, read_photo, read_size, stored_size, turn_boxes, turn_mask
from trainables.data.sample import (
    Annotations,
    Array,
    DataPart,
    DataSource,
    Sample,
    Tally,
    check_names_alike,
    fold_name,
    identity_of,
    need_folder,
    unknown_classes,
)
from trainables.errors import DataError
from trainables.specs.data import CocoData, CocoPart, Split, background_among
from trainables.wording import few, plural

WIDER = "a box one pixel larger than its polygon"
"""What is noticed of an image, for a look at the data: some converters add a pixel to both sides."""


@dataclass(frozen=True, eq=False)
class CocoSample:
    """One image with its annotations. declared: (height, width), if the file declares them.

    canvases: the (height, width) of the masks that boxes were taken from.
    drawing: the objects that the image's mask is drawn from, for segmentation.
    """

    name: str
    path: Path
    declared: tuple[int, int] | None
    found: Annotations
    folder: Folder
    custom: Custom = field(default_factory=Custom)
    bits: int | None = None
    canvases: frozenset[tuple[int, int]] = frozenset()
    tally: Tally = field(default_factory=Tally)
    drawing: Drawing | None = None

    @cached_property
    def origin(self) -> str:
        """The image file, however it is spelled."""
        return file_identity(self.path)

    @property
    def files(self) -> tuple[Path, ...]:
        """The image file."""
        return (self.path,)

    def photo(self) -> Photo:
        """The image, upright. Raises ValueError if its size is not the declared one."""
        try:
            photo = read_photo(self.path, bits=self.bits)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENAMETOOLONG):
                raise
            raise FileNotFoundError(f"there is no file {self.path}{self.folder.hint(self.name)}") from error
        by_size(self.declared, photo.upright, photo.stored)
        return photo

    def annotations(self, photo: Photo | None = None) -> Annotations:
        """The boxes, including crowds, on the upright image. Raises ValueError if that cannot be told."""
        photo = photo or self.photo()
        _check_canvases(self.canvases, photo, "objects without a bbox")
        if self._way_round(photo) is Drawn.UPRIGHT:
            return self.found
        return replace(
            self.found,
            boxes=turn_boxes(self.found.boxes, photo.orientation, photo.stored),
            outlines=turn_boxes(self.found.outlines, photo.orientation, photo.stored),
            turned=True,
        )

    def mask(self, photo: Photo | None = None) -> Array | None:
        """(height, width) uint8 class indices on the upright image, drawn from objects; None for detection.

        Raises ValueError if an object cannot be drawn, or if it cannot be told which way round.
        """
        if self.drawing is None:
            return None
        photo = photo or self.photo()
        _check_canvases(self.drawing.canvases, photo, "objects")
        if self._way_round(photo) is Drawn.UPRIGHT:
            return self.drawing.mask(photo.upright)
        return turn_mask(self.drawing.mask(photo.stored), photo.orientation)

    def probe(self) -> Drawn | None:
        """Which way round the boxes were drawn, if this photo's own sizes say so."""
        try:
            orientation, upright = read_size(self.path)
            return None if orientation == 1 else self._said(upright, stored_size(upright, orientation))
        except Exception:  # any error of the decoder; it is reported where the image is read
            return None

    def _way_round(self, photo: Photo) -> Drawn:
        """Which way round its objects were drawn. Raises ValueError if that cannot be told."""
        if photo.orientation == 1 or not len(self.found.boxes):
            return Drawn.UPRIGHT
        own = self._said(photo.upright, photo.stored)
        drawn = self.custom.settle(own)
        if own is None and self.custom.assumed:
            self.tally.add(ASSUMED, self.name)
        return drawn

    def _said(self, upright: tuple[int, int], stored: tuple[int, int]) -> Drawn | None:
        """By the declared size; without one, by the only way round in which all boxes lie in the image."""
        if self.declared is not None:
            return by_size(self.declared, upright, stored)
        inside = [_lie_inside(self.found.boxes, size) for size in (upright, stored)]
        if inside[0] == inside[1]:
            return None
        return Drawn.UPRIGHT if inside[0] else Drawn.STORED


def _check_canvases(canvases: frozenset[tuple[int, int]], photo: Photo, what: str) -> None:
    """Raise ValueError if masks in run-length encoding are not of the photo's size."""
    if wrong := canvases - {photo.upright, photo.stored}:
        (height, width), (of_height, of_width) = min(wrong), photo.upright
        raise ValueError(
            f"it is {of_width}×{of_height} pixels, but {what} have masks of "
            f"{width}×{height} (segmentation.size is [height, width])"
        )


def _lie_inside(boxes: Array, size: tuple[int, int]) -> bool:
    known = boxes[np.isfinite(boxes).all(axis=1)]
    ends = known[:, :2] + known[:, 2:]
    return bool((ends <= np.array(size[::-1]) + SLACK).all())


Given = Mapping[Split, tuple[str, CocoPart]]
"""The parts to read, each with its key in the experiment file."""


def read_coco(
    spec: CocoData,
    classes: Sequence[str] | None = None,
    bits: int | None = None,
    *,
    roots: bool = False,
    masks: bool = False,
    shapes: bool = False,
) -> DataSource:
    """Read the given parts. Classes are the names of the categories in all files, those of train first.

    A category without a box that is others' `supercategory`, such as an export's root, is no class.

    classes: used instead of the files' categories; every box must then have one of them.
    bits: those that deep images use.  roots: count such categories as classes, as experiments did before.
    masks: draw a mask of classes for each image, for segmentation. The first class is then the background:
    the category that is called so, or else none of the categories.
    shapes: keep each object's polygons or mask, for masks of single objects.
    """
    parts = {split: part for split in Split if (part := getattr(spec, split)) is not None}
    given = {s: (f"data.coco.{s}", part) for s, part in parts.items()}
    return read_coco_parts(given, classes, bits, roots=roots, masks=masks, shapes=shapes)


def read_coco_parts(
    given: Given,
    classes: Sequence[str] | None = None,
    bits: int | None = None,
    *,
    roots: bool = False,
    masks: bool = False,
    shapes: bool = False,
) -> DataSource:
    """See `read_coco`. Raises DataError."""
    files = {
        split: (where, part, load_coco_file(part.annotations, shapes=masks or shapes))
        for split, (where, part) in given.items()
    }
    if classes is None:
        classes = class_names([file for *_, file in files.values()], roots=roots)
        classes = with_background(classes) if masks else classes
        own = [(where, tuple(file.categories.values())) for where, _, file in files.values()]
        check_names_alike(own)
    else:
        for where, _, file in files.values():
            _only_of(classes, file, where)
    for where, _, file in files.values() if masks or shapes else ():
        require_shapes(file, where)
    background = (background_among(classes) or classes[0]) if masks else None
    parts = {
        split: _read_part(part, file, classes, split, where, bits, background)
        for split, (where, part, file) in files.items()
    }
    return DataSource(tuple(classes), parts, background)


def class_names(files: Sequence[CocoFile], *, roots: bool = False) -> tuple[str, ...]:
    """The classes that all files together name; see `read_coco`."""
    names = tuple(dict.fromkeys(name for file in files for name in file.categories.values()))
    if roots:
        return names
    used = {name for file in files for name in file.used}
    parents = {name for file in files for name in file.parents}
    kept = tuple(name for name in names if name in used or fold_name(name) not in parents)
    return kept or names


def require_shapes(file: CocoFile, where: str) -> None:
    """Raise DataError if no object of a file has an outline, so that nothing can be drawn."""
    entries = [entry for entries in file.entries.values() for entry in entries]
    if entries and all(entry.shape is None for entry in entries):
        raise DataError(
            f"{where}.annotations: masks are drawn from polygons or masks (`segmentation`), but none of "
            f"{plural(len(entries), 'object')} has one; use task: detection for boxes"
        )


def _only_of(classes: Sequence[str], file: CocoFile, where: str) -> None:
    """Refuse boxes of other classes; the file may declare other categories without boxes."""
    if unknown := [name for name in file.categories.values() if name in file.used and name not in classes]:
        raise DataError(unknown_classes(f"{where}.annotations", list(dict.fromkeys(unknown)), classes))


def coco_identity(spec: CocoData) -> JsonValue:
    """The content of the annotations, and the names, sizes and modification times of the image files."""
    return [None if part is None else coco_files(part) for part in (spec.train, spec.validation, spec.test)]


def coco_files(part: CocoPart, where: str = "") -> JsonValue:
    """Digests of the annotations and of the image folder. Raises DataError if one does not exist."""
    prefix = f"{where}." if where else ""
    try:
        content = hashlib.sha256(Path(part.annotations).read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"{prefix}annotations must be a COCO JSON file: {error}") from error
    return [content, identity_of(need_folder(part.images, what=f"{prefix}images"))]


def _read_part(
    part: CocoPart,
    file: CocoFile,
    classes: Sequence[str],
    split: Split,
    where: str,
    bits: int | None,
    background: str | None,
) -> DataPart:
    folder = Folder(need_folder(part.images, what=f"{where}.images"))
    place = {name: i for i, name in enumerate(classes)}
    samples: list[Sample] = []
    probes: list[Probe] = []
    custom, tally = Custom(probes), Tally()
    groups = _by_file(file, folder, part.annotations)
    for path, images in groups.items():
        entries = _distinct([entry for image in images for entry in file.entries.get(image.id, ())])
        declared = next((image.declared for image in images if image.declared is not None), None)
        labels = [
            place.get(file.categories[e.category], -1) if e.category is not None else -1 for e in entries
        ]
        found = _annotations(entries, labels)
        if _has_wider(found):
            tally.add(WIDER, images[0].file_name)
        canvases = frozenset(e.canvas for e in entries if e.canvas is not None)
        drawing = None if background is None else _drawing(entries, labels, place[background])
        sample = CocoSample(
            images[0].file_name, path, declared, found, folder, custom, bits, canvases, tally, drawing
        )
        samples.append(sample)
        probes.append(sample.probe)
    return DataPart(
        samples, tuple(_faults(file, split)), tuple(_remarks(file, groups, where, background)), tally
    )


def _by_file(file: CocoFile, folder: Folder, where: str) -> dict[Path, list[ImageEntry]]:
    """The entries of `images` by their file: one that is listed or spelled several times is one image."""
    first: dict[str, Path] = {}
    groups: dict[Path, list[ImageEntry]] = {}
    for image in file.images:
        path = folder.find(image.file_name)
        path = first.setdefault(file_identity(path), path)
        group = groups.setdefault(path, [])
        sizes = {each.declared for each in [*group, image] if each.declared is not None}
        if len(sizes) > 1:
            raise DataError(
                f"{where}: a file must have one size, but images {group[0].id} and {image.id} are both "
                f"{image.file_name} and declare different ones"
            )
        group.append(image)
    return groups


def _distinct(entries: Sequence[Entry]) -> list[Entry]:
    """The annotations of one image, which may be listed under several ids, each once."""
    known: dict[str, Entry] = {}
    for entry in entries:
        known.setdefault(repr(replace(entry, name=entry.name if np.isnan(entry.box).any() else "")), entry)
    return list(known.values())


def _drawing(entries: Sequence[Entry], labels: Sequence[int], background: int) -> Drawing:
    """The mask of the entries, which `check` lists as an error if one cannot be drawn."""
    shapes = []
    for entry, label in zip(entries, labels, strict=True):
        if label < 0:
            return Drawing((), background, f"{entry.name} has a category that is not declared")
        if entry.shape is None:
            return Drawing(
                (), background, f"{entry.name} has no polygon or mask, so its pixels are not known"
            )
        shapes.append(Shape(label, entry.shape, entry.crowd))
    return Drawing(tuple(shapes), background)


def _annotations(entries: Sequence[Entry], labels: Sequence[int]) -> Annotations:
    """The boxes unchanged; `check` lists one without four numbers or without a category as an error."""
    return Annotations.of(
        [entry.box for entry in entries],
        labels,
        [entry.area for entry in entries],
        [entry.crowd for entry in entries],
        outlines=[entry.outline for entry in entries],
        drawn=[entry.drawn for entry in entries],
        shapes=[entry.shape for entry in entries],
    )


def _faults(file: CocoFile, split: Split) -> Iterator[Finding]:
    names = {image.id: image.file_name for image in file.images}
    for name, image in file.stray:
        detail = f"it belongs to image {image}, which the file does not list"
        yield Finding(split, name, Fault.BAD_BOX, Action.BOX_DROPPED, detail)
    for key, name in file.twice:
        detail = f"{name} is listed twice"
        yield Finding(split, names[key], Fault.BAD_BOX, Action.IGNORED, detail)


def _has_wider(found: Annotations) -> bool:
    """Whether a box is a pixel wider and higher than its polygon, as some converters write it."""
    more = found.boxes[:, 2:] - found.outlines[:, 2:]
    return bool(((np.abs(more - 1) < 0.01).all(axis=1) & ~found.drawn).any())


def _remarks(
    file: CocoFile, groups: Mapping[Path, Sequence[ImageEntry]], where: str, background: str | None
) -> Iterator[str]:
    doubled = [images[0].file_name for images in groups.values() if len(images) > 1]
    if doubled:
        yield (
            f"{where}: {len(doubled)} image file{'s are' if len(doubled) > 1 else ' is'} listed more than "
            f"once; the annotations of each were put together ({few(doubled)})"
        )
    counts = Counter(entry.category for entries in file.entries.values() for entry in entries)
    named: Counter[str] = Counter()
    for key, count in counts.items():
        if key is not None:
            named[file.categories[key]] += count
    roots = [f"'{name}' ({n})" for name, n in named.items() if fold_name(name) in file.parents]
    if roots and len(roots) < len(named):
        yield (
            f"{where}: categories that are the supercategory of others have boxes of their own, so they "
            f"count as classes: {', '.join(roots[:5])}; if that is a mistake, correct these annotations"
        )
    drawn = Counter(entry.drawn for entries in file.entries.values() for entry in entries)
    if drawn[True] and background is None:
        yield (
            f"{where}: {drawn[True]} of {drawn.total()} objects have a polygon or mask but no bbox, so their "
            "boxes were taken from it"
        )
