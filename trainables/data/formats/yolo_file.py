"""A YOLO data set's `data.yaml`: its classes, and the images of each part with the file of their labels.

The rules are those of Ultralytics, which defined the layout: a part is a folder, a text file that lists
images, or a list of these; the labels of `…/images/x.jpg` are in `…/labels/x.txt`, and beside the image where
no folder is called `images`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from trainables.data.files.coco_fields import shown, whole_number
from trainables.data.files.file_names import file_identity, walk_files
from trainables.errors import DataError
from trainables.specs.data import Split
from trainables.wording import few, plural
from trainables.yaml_aliases import OFTEN, repeated_too_often

PARTS = {Split.TRAIN: "train", Split.VALIDATION: "val", Split.TEST: "test"}
"""The key of each part in `data.yaml`."""
LIST = ".txt"
"""The suffix of a file that lists images."""


@dataclass(frozen=True)
class YoloImage:
    """An image and where its labels must be. name: the image's path below its part, or below the data set."""

    name: str
    path: Path
    labels: Path


@dataclass(frozen=True)
class YoloFile:
    """A `data.yaml` as read.

    names: the class names by their numbers, in order.  points: the numbers of a row that describe the points
    of a pose, after class and box.  remarks: what the user should know of how paths were resolved.
    """

    path: Path
    root: Path
    names: Mapping[int, str]
    points: int
    given: Mapping[str, tuple[str, ...]]
    remarks: tuple[str, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """The names in the order of their numbers."""
        return tuple(self.names.values())

    @property
    def meaning(self) -> str:
        """All that labels mean by this file, wherever it is."""
        return repr((list(self.names.items()), self.points))

    def images(self, part: str) -> list[YoloImage]:
        """The images of a part, by name. Raises DataError for what does not exist or holds no image."""
        places = [self._place(text, part) for text in self.given[part]]
        single = places[0] if len(places) == 1 and places[0].is_dir() else None
        paths = [path for place in places for path in _images_at(place, self.root, f"{self.path}: {part}")]
        if not paths:
            raise DataError(
                f"{self.path}: {part} must hold images, but {few(list(self.given[part]))} has none"
            )
        found: dict[str, YoloImage] = {}
        for path in paths:
            base = single if single is not None else self.root
            name = path.relative_to(base).as_posix() if path.is_relative_to(base) else path.as_posix()
            found.setdefault(file_identity(path), YoloImage(name, path, labels_of(path)))
        return sorted(found.values(), key=lambda image: image.name)

    def _place(self, text: str, part: str) -> Path:
        """The folder or list that `data.yaml` names."""
        tried = [self.root / text]
        if text.startswith("../"):  # Roboflow writes paths that lead out of the folder
            tried.append(self.root / text[3:])
        for path in tried:
            if path.exists():
                return path
        raise DataError(
            f"{self.path}: {part} must be a folder of images or a file that lists them, but there is "
            "nothing at "
            f"{tried[0]}; paths count from the file's `path`, which is {self.root}"
        )


def load_yolo_file(path: str, where: str = "data.yolo.file") -> YoloFile:
    """Read a `data.yaml`. Raises DataError for what is not one, with the key."""
    file = Path(path)
    held = _mapping(file, where)
    names, points = _names(held, path), _points(held, path)
    root, remarks = _root(held.get("path"), file)
    given = {part: _given(held[part], f"{path}: {part}") for part in PARTS.values() if held.get(part)}
    if "train" not in given and "val" not in given and "test" not in given:
        raise DataError(
            f"{path} must name images, such as `train: images/train`, but it has no train, val or test"
        )
    return YoloFile(file, root, names, points, given, remarks)


def labels_of(image: Path) -> Path:
    """The label file of an image: its last folder `images` is `labels` there."""
    parts = list(image.parts)
    for i in range(len(parts) - 2, 0, -1):
        if parts[i] == "images":
            parts[i] = "labels"
            return Path(*parts).with_suffix(".txt")
    return image.with_suffix(".txt")


def _mapping(file: Path, where: str) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8")
        # As YAML 1.2, in which classes may be called no and yes.
        if "*" in text and (line := repeated_too_often(YAML(typ="safe", pure=True).compose(text))):
            raise DataError(f"{where} must be a YOLO data.yaml, but {file}, line {line}: {OFTEN}")
        held = YAML(typ="safe", pure=True).load(text)
    except RecursionError as error:
        raise DataError(f"{where} must be a YOLO data.yaml, but {file} is nested too deeply") from error
    except OSError as error:
        raise DataError(f"{where} must be a YOLO data.yaml, but {file}: {error.strerror}") from error
    except (MarkedYAMLError, YAMLError, UnicodeDecodeError, ValueError) as error:
        raise DataError(f"{where} must be a YOLO data.yaml, but {file} is not YAML: {error}") from error
    if not isinstance(held, dict):
        raise DataError(f"{where} must be a YOLO data.yaml with names and train, but {file} holds no mapping")
    return held


def _names(held: Mapping[str, Any], path: str) -> dict[int, str]:
    given = held.get("names")
    if isinstance(given, list):
        pairs = list(enumerate(given))
    elif isinstance(given, dict):
        numbers = {key: whole_number(key) for key in given}
        if wrong := [key for key, number in numbers.items() if number is None or number < 0]:
            raise DataError(f"{path}: names must have whole numbers from 0 as keys, got {shown(wrong[0])}")
        pairs = sorted((number, given[key]) for key, number in numbers.items() if number is not None)
    else:
        raise DataError(
            f"{path}: names must list the classes, or give them by number, such as {{0: cat, 1: dog}}, got "
            f"{shown(given)}"
        )
    names = {
        number: str(name)
        for number, name in pairs
        if isinstance(name, str | int | float) and not isinstance(name, bool)
    }
    if not names or len(names) < len(pairs):
        raise DataError(f"{path}: names must be the classes' names, got {shown(given)}")
    if twice := [name for name in names.values() if list(names.values()).count(name) > 1]:
        raise DataError(
            f"{path}: names must differ, but '{twice[0]}' is there twice; every class needs its own"
        )
    count = whole_number(held.get("nc"))
    if isinstance(given, list) and count is not None and count != len(names):
        raise DataError(
            f"{path}: nc must be the number of names, {len(names)}, got {count}; correct the one that is "
            "wrong"
        )
    return names


def _points(held: Mapping[str, Any], path: str) -> int:
    shape = held.get("kpt_shape")
    if shape is None:
        return 0
    if not isinstance(shape, list) or len(shape) != 2 or not all(isinstance(n, int) for n in shape):
        raise DataError(f"{path}: kpt_shape must be [points, 2 or 3], got {shown(shape)}")
    return int(shape[0] * shape[1])


def _given(value: Any, where: str) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    if wrong := [v for v in values if not isinstance(v, str) or not v]:
        raise DataError(f"{where} must be a folder, a .txt file, or a list of these, got {shown(wrong[0])}")
    return tuple(values)


def _root(path: Any, file: Path) -> tuple[Path, tuple[str, ...]]:
    """The folder that the parts' paths count from, and what is to be said of it."""
    here = file.parent.absolute()
    if not isinstance(path, str) or not path:
        return here, ()
    # Ultralytics looks in its own folder of data sets: a name may be that of this one, or of one beside it.
    for place in (here / path, here.parent / path):
        if place.is_dir():
            return place, ()
    return here, (
        f"{file}: its path, {path}, does not exist here, so its parts count from the file's own folder, "
        f"{here}",
    )


def _images_at(place: Path, root: Path, where: str) -> Iterator[Path]:
    known = Image.registered_extensions()
    if place.is_dir():
        yield from (path for path in walk_files(place, needed=known) if path.suffix.lower() in known)
        return
    if place.suffix.lower() != LIST:
        yield place
        return
    try:
        lines = [line.strip() for line in place.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{where}: {place} must be a text file with an image in each line: {error}"
        ) from error
    absent: list[str] = []
    for line in filter(None, lines):
        text = PurePosixPath(line.replace("\\", "/")).as_posix()
        tried = [place.parent / text, root / text]
        path = next((path for path in tried if path.is_file()), None)
        if path is None:
            absent.append(text)
        else:
            yield path
    if absent:
        raise DataError(
            f"{where}: {place} must list images that exist, but {plural(len(absent), 'line')} of "
            f"{len([line for line in lines if line])} name none, such as {absent[0]}; lines count from the "
            "list's "
            f"folder or from {root}"
        )
