"""What lies in a folder of data: what `data.folder` takes, or COCO JSON and masks that must be declared."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from trainables.data.files.file_names import Folder, is_file
from trainables.data.files.mask_pixels import read_mask
from trainables.data.formats.folder import Given, found_data
from trainables.errors import DataError
from trainables.inspection.inspection import Subject
from trainables.specs.data import BACKGROUND, CocoData, CocoPart, DataSpec, MaskData, MaskPart, Split
from trainables.specs.workload import ModelSpec, Task
from trainables.wording import few

WORDS = {
    Split.TRAIN: ("train", "training"),
    Split.VALIDATION: ("val", "valid", "validation", "dev"),
    Split.TEST: ("test", "testing"),
}
"""The words in a name of a file or folder that say which part it is."""
IMAGES, MASKS = ("images", "imgs", "image", "img"), ("masks", "mask", "labels", "annotations")
"""The names of folders of images, and of masks."""
IGNORED_VALUE = 255
"""The value of ignored pixels where masks otherwise hold small class numbers, as in Pascal VOC."""
DATASETS = "dataset_dict.json"
"""What `save_to_disk` writes into the folder of a data set."""
PROBED = 5
"""Images of a COCO file that are looked for to find its folder of images."""


def subject_of_folder(folder: Path, *, task: Task | None = None, model: ModelSpec | None = None) -> Subject:
    """The data in a folder, by what is recognised there. task: which annotations to take if several are.

    Raises DataError if there is no such folder, it cannot be listed, or nothing in it is recognised.
    """
    try:
        list(folder.iterdir())
    except OSError as error:
        raise DataError(f"{folder} must be a folder that can be listed: {error.strerror}") from error
    tasks = list(Task) if task is None else [task]
    reason = ""
    fitting: dict[Task, Given] = {}
    for each in tasks:
        try:
            fitting[each] = found_data(DataSpec(folder=str(folder)), each)
        except DataError as error:
            reason = reason or str(error).splitlines()[0]
    for first, given in fitting.items():
        # Whether shapes are there for every image is known once they are read.
        others = [f"it may fit task {each}, too: `--task {each}`" for each in fitting if each is not first]
        said = (f"found: {given.said}", *others)
        return Subject(str(folder), first, given.data, model=model, notes=said)
    # What `data.folder` does not take, because something is not said there: it may still be looked at.
    coco, notes = _coco(folder) if task is None or task.facts.boxes else (None, [])
    masks = _masks(folder) if task is None or task.facts.masks else None
    if coco is not None:
        notes.append(f"an experiment must declare it: {reason}")
        if masks is not None:
            notes.append("there are masks, too; `--task segmentation` shows these")
        return Subject(str(folder), Task.DETECTION, DataSpec(coco=coco), model=model, notes=tuple(notes))
    if masks is not None:
        parts = {split: getattr(masks, split.value) for split in Split}
        found = [f"{split}: {part.images} and {part.masks}" for split, part in parts.items() if part]
        said = (
            f"images and masks: {'; '.join(found)}; classes are named by the values in the masks",
            f"an experiment must declare it: {reason}",
        )
        return Subject(str(folder), Task.SEGMENTATION, DataSpec(masks=masks), model=model, notes=said)
    raise DataError(
        f"{folder} must hold COCO JSON, a YOLO data.yaml, Pascal VOC's XML, LabelMe's JSON, or folders of "
        f"images and masks, but none was found{'' if task is None else f' for task {task}'}; it holds "
        f"{few(sorted(path.name for path in folder.iterdir())) or 'nothing'}; name an experiment file whose "
        f"`data` section says where the data are{_of_hub(folder)}"
    )


def _of_hub(folder: Path) -> str:
    """A hint, if `datasets` saved it."""
    return ", as data.hub: it is a data set of `datasets`" if (folder / DATASETS).is_file() else ""


def split_of(names: tuple[str, ...]) -> Split | None:
    """The part that a path's names say, the last one first; None if they say nothing."""
    for name in reversed(names):
        words = "".join(c if c.isalpha() else " " for c in name.casefold()).split()
        for split, known in WORDS.items():
            if any(word in known for word in words):
                return split
    return None


# --- COCO JSON ----------------------------------------------------------------------------------


def _coco(folder: Path) -> tuple[CocoData | None, list[str]]:
    parts: dict[Split, CocoPart] = {}
    notes: list[str] = []
    for path in _json_files(folder):
        if (names := _coco_names(path)) is None:
            continue
        inside = path.relative_to(folder)
        split = split_of(inside.parts) or Split.TRAIN
        images = _images_of(folder, path, names, split)
        if split in parts:
            notes.append(f"{inside} is COCO JSON too, but {split} is taken from {parts[split].annotations}")
            continue
        parts[split] = CocoPart(images=str(images), annotations=str(path))
        notes.append(f"{split}: COCO JSON {inside} with images in {images}")
    if not parts:
        return None, []
    if Split.TRAIN not in parts:  # one file, whatever its name
        first = next(iter(parts))
        parts[Split.TRAIN] = parts.pop(first)
        notes.append(f"there is no part for training, so {first} is taken for it")
    given = (parts[Split.TRAIN], parts.get(Split.VALIDATION), parts.get(Split.TEST))
    return CocoData(train=given[0], validation=given[1], test=given[2]), notes


def _json_files(folder: Path) -> Iterator[Path]:
    for pattern in ("*.json", "*/*.json"):
        yield from sorted(path for path in folder.glob(pattern) if path.is_file())


def _coco_names(path: Path) -> list[str] | None:
    """The first file names of a COCO file; None for other JSON."""
    try:
        file: Any = json.loads(path.read_bytes())
        if not all(isinstance(file[name], list) for name in ("images", "annotations", "categories")):
            return None
        return [str(image["file_name"]) for image in file["images"][:PROBED]]
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        return None


def _images_of(root: Path, path: Path, names: list[str], split: Split) -> Path:
    """The folder below `root` near a COCO file that has its images; a likely one if none has them."""
    bases = [base for base in (path.parent, path.parent.parent) if base.is_relative_to(root)]
    tried = [base / name for base in bases for name in (*IMAGES, *WORDS[split], path.stem)]
    tried += [base / image / word for base in bases for image in IMAGES for word in WORDS[split]]
    tried += [inner for base in bases for inner in sorted(base.iterdir())]
    held = [folder for folder in (*tried, *bases) if folder.is_dir()]
    counts = [sum(is_file(Folder(folder).find(name)) for name in names) for folder in held]
    most = max(counts, default=0)
    if most:
        return held[counts.index(most)]
    return next((folder for folder in tried if folder.is_dir()), path.parent)


# --- images and masks ---------------------------------------------------------------------------


def _masks(folder: Path) -> MaskData | None:
    parts: dict[Split, MaskPart] = {}
    for base in (folder, *sorted(path for path in folder.iterdir() if path.is_dir())):
        pair = _pair(base)
        split = split_of((base.name,)) if base != folder else None
        if pair is not None:
            parts.setdefault(split or Split.TRAIN, pair)
    if whole := _pair(folder):  # images/train next to masks/train
        inside = [p for p in sorted(Path(whole.images).iterdir()) if p.is_dir() and split_of((p.name,))]
        divided = {
            split_of((p.name,)): MaskPart(images=str(p), masks=str(Path(whole.masks) / p.name))
            for p in inside
            if (Path(whole.masks) / p.name).is_dir()
        }
        if Split.TRAIN in divided:
            parts = {split: part for split, part in divided.items() if split is not None}
    if Split.TRAIN not in parts:
        return None
    values = _values([Path(part.masks) for part in parts.values()])
    ignore = IGNORED_VALUE if IGNORED_VALUE in values and len(values) > 2 and len(values) < 255 else None
    kept = [value for value in values if value != ignore]
    if len(kept) < 2:  # nothing but background, or no mask that can be read: its reader says so
        kept = [0, 1]
    classes = tuple(BACKGROUND if value == kept[0] == 0 else f"value {value}" for value in kept)
    return MaskData(
        train=parts[Split.TRAIN],
        validation=parts.get(Split.VALIDATION),
        test=parts.get(Split.TEST),
        classes=classes,
        values=tuple(kept),
        ignore=ignore,
    )


def _pair(base: Path) -> MaskPart | None:
    images = next((base / name for name in IMAGES if (base / name).is_dir()), None)
    held = (base / name for name in MASKS if (base / name).is_dir())
    masks = next((folder for folder in held if _has_pictures(folder)), None)
    return None if images is None or masks is None else MaskPart(images=str(images), masks=str(masks))


def _has_pictures(folder: Path) -> bool:
    kinds = {".png", ".bmp", ".tif", ".tiff", ".gif"}
    return any(path.suffix.lower() in kinds for path in folder.rglob("*"))


def _values(folders: list[Path]) -> list[int]:
    """All values in the masks, in ascending order; files that are no masks are left to their reader."""
    found: set[int] = set()
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.name.startswith("."):
                with suppress(Exception):  # any error of a decoder
                    found.update(np.unique(read_mask(path).values).tolist())
    return sorted(value for value in found if value >= 0)
