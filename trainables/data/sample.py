"""The samples that every source yields, which load themselves, and how their files are read."""

from __future__ import annotations

import difflib
import hashlib
import os
import threading
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from trainables.data.files.pixels import Photo
from trainables.errors import DataError
from trainables.specs.data import Split
from trainables.wording import few

if TYPE_CHECKING:
    from trainables.data.faults import Finding
    from trainables.data.files.drawn_masks import Outline

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Annotations:
    """The boxes of one image.

    boxes: (n, 4) float64, absolute xywh in original pixels, NaN for unreadable values.
    labels: (n,) int64 class indices, -1 for an unknown category.  areas: (n,) float64, NaN where the
    data give none.  crowds: (n,) bool.  outlines: (n, 4) float64 xywh around each object's polygon or mask,
    NaN where there is none.  corners: whether the data give boxes as [x0, y0, x1, y1].
    drawn: (n,) bool, boxes that the data do not give, and that were taken from the outline.
    turned: whether boxes and outlines were turned with the photo, so that they are not as the data give them.
    judged: whether `consistency` can judge in which form the data give the boxes; a reader of another form
    than [x, y, width, height] or [x0, y0, x1, y1] in pixels judges it itself.
    shapes: each object's polygons or mask, None without one; empty if they were not asked for. They lie on
    the stored pixels if `turned`.  masks: each object's mask on the upright image in run-length encoding, see
    `object_masks`; empty where no task needs them.
    """

    boxes: Array
    labels: Array
    areas: Array
    crowds: Array
    outlines: Array
    drawn: Array
    corners: bool = False
    turned: bool = False
    judged: bool = True
    shapes: tuple[Outline | None, ...] = ()
    masks: tuple[bytes, ...] = ()

    @classmethod
    def none(cls) -> Annotations:
        """No boxes."""
        return cls.of([], [], [], [])

    @classmethod
    def of(
        cls,
        boxes: Sequence[Sequence[float]],
        labels: Sequence[int],
        areas: Sequence[float],
        crowds: Sequence[bool],
        *,
        outlines: Sequence[Sequence[float]] | None = None,
        drawn: Sequence[bool] | None = None,
        corners: bool = False,
        shapes: Sequence[Outline | None] = (),
    ) -> Annotations:
        """From plain lists; an area that is not a number above 0 counts as not given."""
        given = np.asarray(areas, np.float64).reshape(-1)
        return cls(
            boxes=np.asarray(boxes, np.float64).reshape(-1, 4),
            labels=np.asarray(labels, np.int64).reshape(-1),
            areas=np.where(np.isfinite(given) & (given > 0), given, np.nan),
            crowds=np.asarray(crowds, bool).reshape(-1),
            outlines=np.asarray(
                [[np.nan] * 4] * len(boxes) if outlines is None else outlines, np.float64
            ).reshape(-1, 4),
            drawn=np.asarray([False] * len(boxes) if drawn is None else drawn, bool).reshape(-1),
            corners=corners,
            shapes=tuple(shapes),
        )

    def rounded(self) -> Annotations:
        """The boxes in the values that single precision can hold."""
        return replace(self, boxes=self.boxes.astype(np.float32).astype(np.float64))

    def with_areas(self) -> Annotations:
        """Where the data give no area, the box's."""
        own = self.boxes[:, 2] * self.boxes[:, 3]
        return replace(self, areas=np.where(np.isnan(self.areas), own, self.areas))

    def only(self, keep: Array) -> Annotations:
        """The annotations that `keep`, (n,) bool or indices, selects."""
        columns = ("boxes", "labels", "areas", "crowds", "outlines", "drawn")
        kept: dict[str, Any] = {name: getattr(self, name)[keep] for name in columns}
        places = np.arange(len(self.boxes))[keep].tolist()
        for name in ("shapes", "masks"):
            kept[name] = tuple(getattr(self, name)[i] for i in places) if getattr(self, name) else ()
        return replace(self, **kept)


class Sample(Protocol):
    """One image with its annotations. The three methods may be called from any thread."""

    @property
    def name(self) -> str:
        """The image's name in lists of errors and splits."""
        ...

    @property
    def origin(self) -> str:
        """The file's path, or the row; it must not be in two splits."""
        ...

    def photo(self) -> Photo:
        """The image, upright. Raises FileNotFoundError, or any error of the decoder."""
        ...

    def annotations(self, photo: Photo | None = None) -> Annotations:
        """The boxes on the upright image; none for segmentation. photo: the image, if it is already read.

        Raises ValueError if it cannot be told which way round they were drawn.
        """
        ...

    def mask(self, photo: Photo | None = None) -> Array | None:
        """(height, width) uint8 class indices on the upright image, 255 for ignored.

        Raises FileNotFoundError or ValueError.
        """
        ...


class Tally:
    """What was noticed while the images of a part were read, with the names of the images."""

    def __init__(self) -> None:
        """Nothing yet."""
        self._lock = threading.Lock()
        self._names: dict[str, list[str]] = defaultdict(list)

    def add(self, what: str, name: str) -> None:
        """Note `what` of the image `name`."""
        with self._lock:
            self._names[what].append(name)

    def names(self) -> dict[str, list[str]]:
        """The images in their order by name, by what was noticed of them."""
        with self._lock:
            return {what: sorted(names) for what, names in sorted(self._names.items())}


@dataclass(frozen=True)
class DataPart:
    """One part of a source, and the errors that belong to no sample.

    remarks: what the user should know of its files.  tally: what is noticed as they are read.
    """

    samples: Sequence[Sample]
    faults: tuple[Finding, ...] = ()
    remarks: tuple[str, ...] = ()
    tally: Tally = field(default_factory=Tally)


@dataclass(frozen=True)
class DataSource:
    """A source as read: class names in their order, and the parts that it provides."""

    classes: tuple[str, ...]
    parts: dict[Split, DataPart] = field(default_factory=dict)
    background: str | None = None
    """The class of pixels that show no object, if the data name one."""
    corners: bool = False
    """Whether the data give boxes as [x0, y0, x1, y1]."""
    found: str = ""
    """What was found in a folder that is given alone, in words."""
    declared_by: str | None = None
    """The setting that says in which form boxes are, if there is one."""


def need_folder(path: str, *, what: str) -> Path:
    """`path` as an existing folder."""
    folder = Path(path)
    if not folder.is_dir():
        raise DataError(f"{what} must be a folder, but there is none at {folder.absolute()}")
    return folder


def fold_name(name: str) -> str:
    """A class name for comparison: without case, and without blanks at its ends or repeated ones."""
    return " ".join(unicodedata.normalize("NFC", name).casefold().split())


def near_name(name: str, known: Sequence[str]) -> str | None:
    """The known class that a name probably means: the same after folding, or a close one."""
    by_fold = {fold_name(each): each for each in reversed(known)}
    if (same := by_fold.get(fold_name(name))) is not None:
        return same
    close = difflib.get_close_matches(fold_name(name), list(by_fold), n=1)
    return by_fold[close[0]] if close else None


def unknown_classes(where: str, unknown: Sequence[str], known: Sequence[str]) -> str:
    """The message for classes that the model, or its training data, does not have."""
    has = few(known, 20, counted=True)
    names = few([f"'{name}'" for name in unknown], joint=" or ")
    near = near_name(unknown[0], known)
    meant = f"; did you mean '{near}'?" if near is not None else ""
    return (
        f"{where}: the model has no class {names}; it has {has}{meant}; "
        "rename the class to one of these, or remove it"
    )


def spelled_otherwise(names: Sequence[str], known: Sequence[str]) -> str:
    """Names that are known in other case or blanks, as `'Cat' (did you mean 'cat'?)`; '' if none are."""
    by_fold = {fold_name(name): name for name in reversed(known)}
    pairs = [(name, by_fold.get(fold_name(name))) for name in dict.fromkeys(names) if name not in known]
    alike = [f"'{name}' (did you mean '{meant}'?)" for name, meant in pairs if meant is not None]
    return ", ".join(alike[:5])


def check_names_alike(parts: Sequence[tuple[str, Sequence[str]]]) -> None:
    """Refuse a class that is spelled otherwise than in the first part, which is training. Raises DataError.

    parts: each part's key and its class names. Two names that differ in case only are two classes if the
    first part has both, as for letters.
    """
    if not parts:
        return
    (_, first), *others = parts
    for where, names in others:
        if listed := spelled_otherwise(names, first):
            raise DataError(
                f"{where}: classes must be spelled as in training, but these are not: {listed}; "
                "rename them, so that they are one class"
            )


def identity_of(folder: Path) -> str:
    """A digest of all files below `folder`: names, sizes and modification times, not their content."""
    digest = hashlib.sha256()
    for entry in sorted(_files(folder), key=lambda e: e[0]):
        digest.update(repr(entry).encode())
    return digest.hexdigest()


def _files(folder: Path) -> list[tuple[str, int, int]]:
    found = []
    for root, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [f for f in folders if not f.startswith(".")]
        inside = os.path.relpath(root, folder)
        for name in names:
            try:
                stat = os.stat(os.path.join(root, name))
            except OSError:
                found.append((os.path.join(inside, name), -1, -1))
            else:
                found.append((os.path.join(inside, name), stat.st_size, stat.st_mtime_ns))
    return found
