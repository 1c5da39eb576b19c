"""Each format that a folder of data may be in, as the section that would declare it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from trainables.data.files.file_names import Folder, is_file
from trainables.data.files.mask_pixels import read_mask
from trainables.data.formats.folder_files import Listing, split_of, splits_of
from trainables.data.formats.yolo_file import PARTS, load_yolo_file
from trainables.errors import DataError
from trainables.specs.data import Split
from trainables.wording import few, plural

IMAGE_FOLDERS = ("images", "jpegimages", "imgs", "img", "image")
MASK_FOLDERS = ("masks", "labels", "annotations", "segmentationclass", "mask", "gt", "segmentations")
LISTS = {
    Split.TRAIN: ("train", "trainval"),
    Split.VALIDATION: ("val", "valid", "validation"),
    Split.TEST: ("test",),
}
"""The names of VOC's lists of each split, the first that exists counts."""
MOST_JSON = 20
"""JSON files of a folder that are looked at: one of COCO describes many images, of LabelMe there are many."""
MOST_MASKS = 50
"""Masks whose values are looked at."""
BINARY = ((0, 1), (0, 255))
"""The values of masks with an object and a background."""


@dataclass(frozen=True)
class Candidate:
    """A format that was found. section: the source as in an experiment file.  said: what was found, in words.

    needs: what the section still needs, in words; '' if nothing.
    """

    kind: str
    section: Mapping[str, Any]
    said: str
    needs: str = ""
    tasks: tuple[str, ...] = field(default=("detection", "segmentation", "instance_segmentation"))


def candidates(held: Listing) -> list[Candidate]:
    """All formats that the folder may be in."""
    searches: tuple[Callable[[Listing], Iterator[Candidate]], ...] = (_yolo, _coco, _voc, _labelme, _masks)
    return [found for search in searches for found in search(held)]


# --- YOLO -------------------------------------------------------------------------------------


def _yolo(held: Listing) -> Iterator[Candidate]:
    known = False
    for folder, names in held.by_folder({".yaml", ".yml"}).items():
        for name in names:
            path = str(held.root / folder / name)
            try:
                file = load_yolo_file(path)
            except DataError:
                continue
            given = [part for part in PARTS.values() if part in file.given]
            said = f"YOLO labels of {PurePosixPath(folder) / name}: {', '.join(given)}"
            yield Candidate("yolo", {"file": path}, f"{said}; classes {few(file.classes)}")
            known = True
    labels = [f for f in held.by_folder({".txt"}) if "labels" in PurePosixPath(f).parts]
    if labels and not known:
        needs = (
            "a data.yaml that names train and the classes, such as `train: images` and `names: [cat, dog]`"
        )
        yield Candidate(
            "yolo",
            {"file": held.path("data.yaml")},
            f"YOLO labels in {few(labels, 3)} without data.yaml",
            needs,
        )


# --- COCO -------------------------------------------------------------------------------------


def _coco(held: Listing) -> Iterator[Candidate]:
    coco = [
        path
        for folder, names in held.by_folder({".json"}).items()
        for name in names[:MOST_JSON]
        if held.json_file(path := f"{folder}/{name}".removeprefix("./")).coco
    ]
    if not coco:
        return
    by_split = _splits(coco)
    section, needs = {}, ""
    for split, names in by_split.items():
        # COCO's own archive has files of persons' points beside those of objects.
        instances = [n for n in names if PurePosixPath(n).name.startswith("instances")]
        names = instances if len(instances) == 1 else names
        if len(names) > 1:
            needs = f"{split} could be {' or '.join(names)}"
        images = _images_of(held, names[0])
        if images is None:
            needs = f"the images that {names[0]} lists, such as {few(held.json_file(names[0]).names, 1)}"
        section[str(split)] = {"images": held.path(images or "."), "annotations": held.path(names[0])}
    outlined = any(held.json_file(names[0]).outlined for names in by_split.values())
    tasks = ("detection", "segmentation", "instance_segmentation") if outlined else ("detection",)
    shown = ", ".join(f"{split} {PurePosixPath(part['annotations']).name}" for split, part in section.items())
    yield Candidate("coco", section, f"COCO JSON: {shown}", needs, tasks)


def _splits(names: list[str]) -> dict[Split, list[str]]:
    """Files by split: by their own names, or else by their folders'; all are train if none says it."""
    own = splits_of([PurePosixPath(name).name for name in names])
    if own is not None:
        return {s: [n for n in names if split_of(PurePosixPath(n).name) is s] for s in Split if s in own}
    by_folder = splits_of([str(PurePosixPath(name).parent) for name in names])
    if by_folder is not None:
        return {
            s: [n for n in names if split_of(str(PurePosixPath(n).parent)) is s]
            for s in Split
            if s in by_folder
        }
    return {Split.TRAIN: names}


def _images_of(held: Listing, name: str) -> str | None:
    """The folder in which a COCO JSON file's first images lie: beside it, of its split, or another."""
    wanted = held.json_file(name).names
    own, split = str(PurePosixPath(name).parent), split_of(PurePosixPath(name).name)
    places = sorted(held.folders, key=lambda f: (f != own, split is None or split_of(f) is not split))
    for place in places:
        folder = Folder(Path(held.path(place)))
        if wanted and all(is_file(folder.path / each) for each in wanted):
            return place
    return None


# --- Pascal VOC -------------------------------------------------------------------------------


def _voc(held: Listing) -> Iterator[Candidate]:
    folders = {
        folder: names for folder, names in held.by_folder({".xml"}).items() if _is_voc(held, folder, names)
    }
    if not folders:
        return
    by_split = splits_of(folders) if len(folders) > 1 or "." not in folders else None
    if by_split is not None and all(len(places) == 1 for places in by_split.values()):
        section = {str(split): _voc_part(held, by_split[split][0]) for split in Split if split in by_split}
        yield Candidate("voc", section, f"Pascal VOC: {', '.join(section)}", tasks=("detection",))
        return
    for folder in folders:
        section = {str(Split.TRAIN): _voc_part(held, folder)}
        lists = PurePosixPath(folder).parent / "ImageSets/Main"
        for split, names in LISTS.items():
            found = [f"{lists / name}.txt" for name in names if f"{lists / name}.txt" in held.files]
            if found:
                section[str(split)] = _voc_part(held, folder) | {"list": held.path(found[0])}
        yield Candidate("voc", section, f"Pascal VOC: {folder}, {', '.join(section)}", tasks=("detection",))


def _is_voc(held: Listing, folder: str, names: list[str]) -> bool:
    head = (held.root / folder / names[0]).read_bytes()[:4096]
    return b"<annotation" in head


def _voc_part(held: Listing, folder: str) -> dict[str, str]:
    """XML files of a folder with their images: there, or in a folder of images beside it."""
    images = folder
    if folder not in held.images:
        above = PurePosixPath(folder).parent
        beside = [f for f in held.images if PurePosixPath(f).parent == above and PurePosixPath(f) != above]
        named = [f for f in beside if PurePosixPath(f).name.lower() in IMAGE_FOLDERS]
        images = (named or beside or [str(above)])[0]
    return {"images": held.path(images), "annotations": held.path(folder)}


# --- LabelMe ----------------------------------------------------------------------------------


def _labelme(held: Listing) -> Iterator[Candidate]:
    folders = [
        folder
        for folder, names in held.by_folder({".json"}).items()
        if held.json_file(f"{folder}/{names[0]}".removeprefix("./")).labelme
    ]
    if not folders:
        return
    by_split = splits_of(folders)
    if by_split is not None and all(len(places) == 1 for places in by_split.values()):
        section = {str(s): {"folder": held.path(by_split[s][0])} for s in Split if s in by_split}
    else:
        section = {str(Split.TRAIN): {"folder": held.path(folders[0] if len(folders) == 1 else ".")}}
    count = plural(sum(len(held.by_folder({".json"})[folder]) for folder in folders), "file")
    yield Candidate("labelme", section, f"LabelMe: {count} of {', '.join(section)}")


# --- masks ------------------------------------------------------------------------------------


def _masks(held: Listing) -> Iterator[Candidate]:
    """Folders of images and masks: `images` beside `masks`, or below folders of splits, or above them."""
    pairs: dict[str, str] = {}
    for folder in held.images:
        parts = PurePosixPath(folder).parts
        for place, part in enumerate(parts):
            if part.lower() in IMAGE_FOLDERS:
                for other in held.images:
                    theirs = PurePosixPath(other).parts
                    if (
                        len(theirs) == len(parts)
                        and theirs[place].lower() in MASK_FOLDERS
                        and theirs[:place] + theirs[place + 1 :] == parts[:place] + parts[place + 1 :]
                    ):
                        pairs[folder] = other
    by_split = splits_of(pairs)
    if not pairs or (by_split is None and len(pairs) > 1):
        return
    chosen = (
        {s: folders[0] for s, folders in by_split.items()}
        if by_split is not None
        else {Split.TRAIN: next(iter(pairs))}
    )
    section: dict[str, Any] = {
        str(s): {"images": held.path(chosen[s]), "masks": held.path(pairs[chosen[s]])}
        for s in Split
        if s in chosen
    }
    values = _mask_values(held, pairs[chosen[Split.TRAIN]])
    names, needs = _class_names(held), ""
    listed = few([str(value) for value in values], 10)
    shown = f"image and mask folders: {', '.join(section)}; masks hold the values {listed}"
    if names is not None and (not values or len(names) > max(values)):
        section["classes"] = names
    elif tuple(values) in BINARY:
        section |= {"classes": ["background", "foreground"]} | ({"values": values} if values[-1] > 1 else {})
        shown += ", which are background and foreground"
    else:
        needs = (
            "the classes of these values: classes: [NAME, …], and values: [0, …] if they are not 0, 1, 2, …"
        )
    yield Candidate("masks", section, shown, needs, tasks=("segmentation",))


def _mask_values(held: Listing, folder: str) -> list[int]:
    found: set[int] = set()
    for name in held.images[folder][:MOST_MASKS]:
        try:
            found |= {int(v) for v in np.unique(read_mask(held.root / folder / name).values) if v >= 0}
        except (OSError, ValueError, SyntaxError):
            continue
    return sorted(found)


def _class_names(held: Listing) -> list[str] | None:
    """The lines of `classes.txt` or `labels.txt`, in the order of mask values."""
    for name in ("classes.txt", "labels.txt"):
        if name in held.files:
            lines = (held.root / name).read_text(encoding="utf-8", errors="replace").splitlines()
            names = [line.strip() for line in lines if line.strip()]
            return names if len(names) > 1 else None
    return None
