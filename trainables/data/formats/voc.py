"""Detection data in XML files of Pascal VOC."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from trainables.data.coco import CocoSample
from trainables.data.faults import Action, Fault, Finding
from trainables.data.files.drawn import Custom, Probe
from trainables.data.files.file_names import Folder, file_identity, is_file, walk_files
from trainables.data.formats.voc_file import VocFile, VocObject, load_voc_file, read_list
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
from trainables.specs.data import Split
from trainables.specs.data_formats import Difficult, VocCoordinates, VocData, VocPart
from trainables.wording import few, plural

XML = ".xml"
FROM_ZERO = "a box from pixel 0"
"""What is noticed of an image with a box that begins at 0, which no pixel of VOC's has."""
DIFFICULT, TRUNCATED = "difficult objects", "truncated objects"
OTHER_NAME = "another file name in its XML"
THREADS = 8
"""Files that are read at once."""

Given = Mapping[Split, tuple[str, VocPart]]
"""The parts to read, each with its key in the experiment file."""


@dataclass(frozen=True)
class Entry:
    """One XML file and its image. name: the image's path below its folder, or what it should be called.

    path: where the image is, or would be.
    """

    name: str
    path: Path
    xml: Path


@dataclass(frozen=True)
class Listing:
    """The files of a part. lost: names in the list that have no XML.  alone: images without XML."""

    entries: tuple[Entry, ...]
    lost: tuple[str, ...]
    alone: tuple[str, ...]


def read_voc(spec: VocData, classes: Sequence[str] | None = None, bits: int | None = None) -> DataSource:
    """Read the given parts. Classes are those of the spec, or the objects' in alphabetical order.

    classes: used instead; every object must then have one of them.  bits: those that deep images use.
    Raises DataError for what is not in this format.
    """
    given = {s: (f"data.voc.{s}", part) for s in Split if (part := getattr(spec, s)) is not None}
    return read_voc_parts(given, spec, classes, bits)


def read_voc_parts(
    given: Given, spec: VocData, classes: Sequence[str] | None, bits: int | None = None
) -> DataSource:
    """See `read_voc`; spec: what says how boxes and difficult objects are read."""
    held = {split: _load(part, where) for split, (where, part) in given.items()}
    used = {
        split: dict.fromkeys(o.name for file in files for o in file.objects)
        for split, (_, files) in held.items()
    }
    known = classes if classes is not None else spec.classes
    if known is None:
        check_names_alike([(where, sorted(used[split])) for split, (where, _) in given.items()])
        known = sorted({name for names in used.values() for name in names})
    for split, (where, _) in given.items():
        if unknown := [name for name in used[split] if name not in known]:
            raise DataError(_unknown(where, unknown, known, declared=classes is None))
    parts = {
        split: _part(given[split], listing, files, spec, tuple(known), split, bits)
        for split, (listing, files) in held.items()
    }
    return DataSource(tuple(known), parts, corners=True)


def voc_files(part: VocPart, where: str) -> dict[str, dict[str, Path]]:
    """The files that a part depends on, by their names."""
    listing, folder = find_files(part, where), Path(part.annotations)
    found = {
        "annotations": {entry.xml.relative_to(folder).as_posix(): entry.xml for entry in listing.entries},
        "images": {entry.name: entry.path for entry in listing.entries},
    }
    return found | ({} if part.list is None else {"list": {"": Path(part.list)}})


def check_voc(part: VocPart, spec: VocData, where: str, probed: int) -> None:
    """A quick look at the folders and the first `probed` files of a part. Raises DataError."""
    listing = find_files(part, where)
    if listing.lost:
        raise DataError(_lost(listing, part))
    first = listing.entries[:probed]
    names = {o.name for entry in first for o in load_voc_file(entry.xml).objects}
    if spec.classes is not None and (unknown := sorted(names - set(spec.classes))):
        raise DataError(_unknown(where, unknown, spec.classes, declared=True))
    if absent := [entry for entry in first if not is_file(entry.path)]:
        raise DataError(
            f"{len(absent)} of the first {plural(len(first), 'image')} cannot be found, such as "
            f"{absent[0].name}"
        )


def find_files(part: VocPart, where: str) -> Listing:
    """The XML files of a part with their images. Raises DataError for folders and lists that do not fit."""
    images = need_folder(part.images, what=f"{where}.images")
    folder = need_folder(part.annotations, what=f"{where}.annotations")
    known = Image.registered_extensions()
    pictures: dict[str, list[str]] = defaultdict(list)
    for path in walk_files(images, needed=known):
        if path.suffix.lower() in known:
            name = path.relative_to(images).as_posix()
            pictures[name[: -len(path.suffix)]].append(name)
    files = {
        path.relative_to(folder).as_posix()[: -len(XML)]: path
        for path in walk_files(folder)
        if path.suffix.lower() == XML
    }
    if not files:
        raise DataError(f"{where}.annotations must be a folder of XML files, but {folder} has none")
    wanted = list(files) if part.list is None else read_list(Path(part.list), f"{where}.list")
    held = Folder(images)
    entries, lost = [], []
    for stem in wanted:
        if stem not in files:
            lost.append(stem)
            continue
        name = _image_of(stem, files[stem], pictures)
        entries.append(Entry(name, held.find(name), files[stem]))
    if not entries:
        raise DataError(
            f"{where}.list must name XML files of {folder}, but none of its {len(lost)} names does, such as "
            f"{lost[0]}"
        )
    listed = {name for stem in wanted for name in pictures.get(stem, ())} | {entry.name for entry in entries}
    alone = (
        [] if part.list is not None else [n for names in pictures.values() for n in names if n not in listed]
    )
    return Listing(tuple(sorted(entries, key=lambda e: e.name)), tuple(lost), tuple(sorted(alone)))


def _image_of(stem: str, xml: Path, pictures: Mapping[str, list[str]]) -> str:
    """The image called like the XML file, as in VOC, or else the one that the file names."""
    own = pictures.get(stem, [])
    if len(own) == 1:
        return own[0]
    named = load_voc_file(xml).file_name
    if len(own) > 1 and named not in own:
        raise DataError(f"{xml}: one image must have its name, but there are {few(own)}; rename the others")
    return named or stem


def _load(part: VocPart, where: str) -> tuple[Listing, list[VocFile]]:
    listing = find_files(part, where)
    with ThreadPoolExecutor(THREADS) as pool:
        return listing, list(pool.map(load_voc_file, [entry.xml for entry in listing.entries]))


def _part(
    given: tuple[str, VocPart],
    listing: Listing,
    files: Sequence[VocFile],
    spec: VocData,
    classes: Sequence[str],
    split: Split,
    bits: int | None,
) -> DataPart:
    where, part = given
    folder = Folder(need_folder(part.images, what=f"{where}.images"))
    place = {name: i for i, name in enumerate(classes)}
    samples: list[Sample] = []
    probes: list[Probe] = []
    custom, tally = Custom(probes), Tally()
    faults = [
        Finding(split, name, Fault.MISSING_FILE, Action.IGNORED, f"{part.annotations} has no {name}{XML}")
        for name in listing.lost
    ]
    first: dict[str, str] = {}
    for entry, file in zip(listing.entries, files, strict=True):
        before = first.setdefault(file_identity(entry.path), entry.xml.name)
        if before != entry.xml.name:
            raise DataError(
                f"{where}: an image must have one XML file, but {before} and {entry.xml.name} are both of "
                f"{entry.name}"
            )
        objects = list(dict.fromkeys(file.objects))
        if len(objects) < len(file.objects):
            detail = f"{plural(len(file.objects) - len(objects), 'object')} of {entry.xml.name} listed twice"
            faults.append(Finding(split, entry.name, Fault.BAD_BOX, Action.IGNORED, detail))
        _notice(entry, file, spec, tally)
        found = _annotations(objects, place, spec)
        sample = CocoSample(entry.name, entry.path, file.declared, found, folder, custom, bits, tally=tally)
        samples.append(sample)
        probes.append(sample.probe)
    return DataPart(samples, tuple(faults), tuple(_remarks(tally, listing, spec, where)), tally)


def _annotations(objects: Sequence[VocObject], place: Mapping[str, int], spec: VocData) -> Annotations:
    shift = 1.0 if spec.coordinates is VocCoordinates.PIXELS else 0.0
    boxes = [
        [x0 - shift, y0 - shift, x1 - (x0 - shift), y1 - (y0 - shift)]
        for x0, y0, x1, y1 in (o.corners for o in objects)
    ]
    return Annotations.of(
        boxes,
        [place[o.name] for o in objects],
        [float("nan")] * len(boxes),
        [o.difficult and spec.difficult is Difficult.IGNORE for o in objects],
        corners=True,
    )


def _notice(entry: Entry, file: VocFile, spec: VocData, tally: Tally) -> None:
    if spec.coordinates is VocCoordinates.PIXELS and any(min(o.corners[:2]) < 1 for o in file.objects):
        tally.add(FROM_ZERO, entry.name)
    if any(o.difficult for o in file.objects):
        tally.add(DIFFICULT, entry.name)
    if any(o.truncated for o in file.objects):
        tally.add(TRUNCATED, entry.name)
    if file.file_name and file.file_name.rpartition(".")[0] not in ("", Path(entry.name).stem):
        tally.add(OTHER_NAME, entry.name)


def _remarks(tally: Tally, listing: Listing, spec: VocData, where: str) -> Iterator[str]:
    noticed = tally.names()
    if names := noticed.get(FROM_ZERO):
        yield (
            f"{where}: {plural(len(names), 'image')} with boxes from pixel 0, although VOC counts pixels "
            "from 1; if the "
            f"tool wrote distances from the edge, set data.voc.coordinates: edges ({few(names)})"
        )
    if names := noticed.get(OTHER_NAME):
        yield (
            f"{where}: {plural(len(names), 'XML file')} with another <filename> than their own name, which "
            f"counts ({few(names)})"
        )
    if listing.alone:
        yield (
            f"{where}: {plural(len(listing.alone), 'image')} without an XML file, left out; one without "
            "objects needs an "
            f"XML file without <object> ({few(listing.alone)})"
        )


def _lost(listing: Listing, part: VocPart) -> str:
    return (
        f"{plural(len(listing.lost), 'name')} of {part.list} without an XML file in {part.annotations}, "
        f"such as {listing.lost[0]}"
    )


def _unknown(where: str, unknown: Sequence[str], known: Sequence[str], *, declared: bool) -> str:
    if not declared:
        return unknown_classes(where, unknown, known)
    return (
        f"{where}: objects must have one of data.voc.classes ({few(list(known), 20)}), but some are of "
        f"{few(list(unknown))}; add these classes, or leave data.voc.classes out"
    )
