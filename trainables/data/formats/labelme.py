"""Data of LabelMe: a JSON file for each image, with polygons, rectangles, circles and masks.

Detection takes the box around each object; segmentation draws masks, later objects over earlier ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from PIL import Image

from trainables.data.coco import CocoSample
from trainables.data.faults import Action, Fault, Finding
from trainables.data.files.drawn import Custom, Probe
from trainables.data.files.drawn_masks import Drawing, Shape, with_background
from trainables.data.files.file_names import Folder, file_identity, is_file, walk_files
from trainables.data.formats.labelme_file import LabelmeFile, LabelmeObject, load_labelme_file
from trainables.data.sample import (
    Annotations,
    DataPart,
    DataSource,
    Sample,
    Tally,
    check_names_alike,
    need_folder,
    unknown_classes,
)
from trainables.errors import DataError
from trainables.specs.data import Split, background_among
from trainables.specs.data_formats import LabelmeData, LabelmePart
from trainables.wording import few, plural

JSON = ".json"
THREADS = 8
"""Files that are read at once."""

Given = Mapping[Split, tuple[str, LabelmePart]]
"""The parts to read, each with its key in the experiment file."""


@dataclass(frozen=True)
class Entry:
    """A JSON file. name: its image's path below the folder.  path: where it is, or should be."""

    name: str
    path: Path
    json: Path
    file: LabelmeFile


def read_labelme(
    spec: LabelmeData, classes: Sequence[str] | None = None, bits: int | None = None, *, masks: bool = False
) -> DataSource:
    """Read the given parts. Classes are those of the spec, or the labels in alphabetical order.

    classes: used instead; every object must then have one of them.  bits: those that deep images use.
    masks: draw a mask of classes for each image, for segmentation; its first class is the background.
    Raises DataError for what is not in this format.
    """
    given = {s: (f"data.labelme.{s}", part) for s in Split if (part := getattr(spec, s)) is not None}
    return read_labelme_parts(given, spec, classes, bits, masks=masks)


def read_labelme_parts(
    given: Given,
    spec: LabelmeData,
    classes: Sequence[str] | None,
    bits: int | None = None,
    *,
    masks: bool = False,
) -> DataSource:
    """See `read_labelme`."""
    held = {split: find_entries(part, where) for split, (where, part) in given.items()}
    used = {s: sorted({o.label for e in entries for o in e.file.objects}) for s, entries in held.items()}
    if classes is None:
        check_names_alike([(where, used[split]) for split, (where, _) in given.items()])
        classes = spec.classes or sorted({name for names in used.values() for name in names})
        if unknown := [name for names in used.values() for name in names if name not in classes]:
            raise DataError(
                "data.labelme.classes must name all labels, but some are "
                f"{few(list(dict.fromkeys(unknown)))}; "
                "add these classes, or leave data.labelme.classes out"
            )
        classes = with_background(classes) if masks else classes
    for split, (where, _) in given.items():
        if unknown := [name for name in used[split] if name not in classes]:
            raise DataError(unknown_classes(where, unknown, classes))
    background = (background_among(classes) or classes[0]) if masks and classes else None
    parts = {
        split: _part(given[split], entries, tuple(classes), split, bits, background)
        for split, entries in held.items()
    }
    return DataSource(tuple(classes), parts, background)


def labelme_files(part: LabelmePart, where: str) -> dict[str, dict[str, Path]]:
    """The files that a part depends on, by their names."""
    entries, folder = find_entries(part, where), Path(part.folder)
    return {
        "annotations": {entry.json.relative_to(folder).as_posix(): entry.json for entry in entries},
        "images": {entry.name: entry.path for entry in entries},
    }


def check_labelme(part: LabelmePart, where: str, probed: int) -> None:
    """A quick look at a folder and its first `probed` files. Raises DataError."""
    entries = find_entries(part, where, probed)
    if absent := [entry for entry in entries if not is_file(entry.path)]:
        raise DataError(
            f"{len(absent)} of the first {plural(len(entries), 'image')} cannot be found, such as "
            f"{absent[0].name}, of {absent[0].json.name}"
        )


def find_entries(part: LabelmePart, where: str, most: int | None = None) -> list[Entry]:
    """The JSON files of a folder with their images, by the images' names. most: how many at most.

    Raises DataError for a folder without such files, and for a file that is not LabelMe's.
    """
    folder = need_folder(part.folder, what=f"{where}.folder")
    files = [path for path in walk_files(folder) if path.suffix.lower() == JSON]
    if not files:
        raise DataError(f"{where}.folder must hold JSON files of LabelMe, but {folder} has none")
    known = Image.registered_extensions()
    beside = {path.with_suffix(""): path for path in walk_files(folder) if path.suffix.lower() in known}
    entry = partial(_entry, folder=folder, beside=beside)
    with ThreadPoolExecutor(THREADS) as pool:
        return sorted(pool.map(entry, files[:most]), key=lambda each: each.name)


def _entry(json: Path, folder: Path, beside: Mapping[Path, Path]) -> Entry:
    """The image that a file names, or the one beside it that is called like it."""
    file = load_labelme_file(json)
    path = Folder(json.parent).find(file.image) if file.image else json.with_suffix("")
    if not is_file(path):
        path = beside.get(json.with_suffix(""), path)
    name = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name
    return Entry(name, path, json, file)


def _part(
    given: tuple[str, LabelmePart],
    entries: Sequence[Entry],
    classes: Sequence[str],
    split: Split,
    bits: int | None,
    background: str | None,
) -> DataPart:
    where, part = given
    folder = Folder(Path(part.folder))
    place = {name: i for i, name in enumerate(classes)}
    samples: list[Sample] = []
    probes: list[Probe] = []
    custom, tally = Custom(probes), Tally()
    faults: list[Finding] = []
    first: dict[str, Path] = {}
    for entry in entries:
        before = first.setdefault(file_identity(entry.path), entry.json)
        if before != entry.json:
            raise DataError(
                f"{entry.json}: an image must have one file, but {before.name} is of {entry.name}, too"
            )
        found = _annotations(entry.file.objects, place)
        drawing = None if background is None else _drawing(entry.file.objects, place, place[background])
        if drawing is None:
            faults += _faults(entry, split)
        sample = CocoSample(
            entry.name,
            entry.path,
            entry.file.declared,
            found,
            folder,
            custom,
            bits,
            tally=tally,
            drawing=drawing,
        )
        samples.append(sample)
        probes.append(sample.probe)
    return DataPart(samples, tuple(faults), tuple(_remarks(entries, Path(part.folder), where)), tally)


def _remarks(entries: Sequence[Entry], folder: Path, where: str) -> Iterator[str]:
    known, used = Image.registered_extensions(), {file_identity(entry.path) for entry in entries}
    images = [path for path in walk_files(folder) if path.suffix.lower() in known]
    if alone := [path.name for path in images if file_identity(path) not in used]:
        yield (
            f"{where}: {plural(len(alone), 'image')} without a JSON file, left out; one without objects "
            "needs "
            f"a file with empty shapes ({few(alone)})"
        )


def _annotations(objects: Sequence[LabelmeObject], place: Mapping[str, int]) -> Annotations:
    kept = [each for each in objects if each.outline is not None]
    boxes = [each.box for each in kept]
    return Annotations.of(
        boxes,
        [place[each.label] for each in kept],
        [math.nan] * len(kept),
        [False] * len(kept),
        outlines=boxes,
        drawn=[True] * len(kept),
        shapes=[each.outline for each in kept],
    )


def _drawing(objects: Sequence[LabelmeObject], place: Mapping[str, int], background: int) -> Drawing:
    problem = next((each.problem for each in objects if each.outline is None), "")
    shapes = [Shape(place[each.label], each.outline) for each in objects if each.outline is not None]
    return Drawing(tuple(shapes), background, problem)


def _faults(entry: Entry, split: Split) -> Iterator[Finding]:
    for each in entry.file.objects:
        if each.outline is None:
            detail = f"{each.problem} ({entry.json.name})"
            yield Finding(split, entry.name, Fault.BAD_BOX, Action.BOX_DROPPED, detail)
