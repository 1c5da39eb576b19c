"""Prepared data on disk: one memory-mapped Arrow file for each split, and `meta.json`.

Opening maps files and reads a few hundred bytes; images become numpy views of the map, so all
workers of a node share one copy.
"""

from __future__ import annotations

import copy
import json
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import pyarrow as pa

from trainables.data.files.object_masks import decode_all
from trainables.data.stored_columns import INSTANCES, SCHEMA, SINGLE, VERSIONS
from trainables.errors import DataError
from trainables.specs.data import Split
from trainables.specs.workload import Task

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Truth:
    """The ground truth of one image, in its original pixels; detections are evaluated against it.

    boxes: (n, 4) float64, absolute xywh.  labels: (n,) int64 class indices.  areas: (n,) float64
    as annotated.  crowds: (n,) bool.  masks: of each object in run-length encoding, see `object_masks`;
    None for a task without them.
    """

    name: str
    height: int
    width: int
    boxes: Array
    labels: Array
    areas: Array
    crowds: Array
    masks: tuple[bytes, ...] | None = None


class BatchSource(Protocol):
    """Makes batches of a split in place of the loader."""

    @property
    def name(self) -> str:
        """Equal for sources that make equal batches."""
        ...

    def __call__(self, batches: Any, i: int, /) -> Any:
        """Batch number `i` of a `trainables.data.loader.Batches`."""
        ...


class PreparedSplit:
    """One part of a prepared data set, in its stored order. Arrays are read-only views."""

    def __init__(self, path: Path, task: Task, rows: Sequence[int] | None = None) -> None:
        """Map the file at `path`. Raises DataError if it is damaged.

        rows: the rows of the images to keep, in ascending order; all when absent.
        """
        self.path, self.task = path, task
        self._rows = None if rows is None else np.asarray(rows, np.int64)
        try:
            whole: Any = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        except (OSError, pa.ArrowInvalid) as error:
            raise DataError(
                f"prepared data must be readable, but {path} is not ({error}); "
                f"remove the folder {path.parent} and prepare again"
            ) from error
        self._stored = whole
        self.batch_source: BatchSource | None = None
        """Makes this split's batches in place of the loader, for images that need not be read."""
        # Pixels stay in the map; the other columns are small enough to copy.
        self._table = whole if self._rows is None else whole.drop(["image", "mask"]).take(self._rows)

    def __len__(self) -> int:
        """Number of images."""
        return int(self._table.num_rows)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the split as its path, never its pixels."""
        return PreparedSplit, (self.path, self.task, self.rows)

    @cached_property
    def rows(self) -> list[int] | None:
        """The rows of the file that this split holds; None for all."""
        return None if self._rows is None else [int(row) for row in self._rows]

    def only(self, rows: Sequence[int]) -> PreparedSplit:
        """A split with only these images, by their indices in ascending order; nothing is copied."""
        kept = rows if self.rows is None else [self.rows[row] for row in rows]
        return PreparedSplit(self.path, self.task, kept)

    def served_by(self, source: BatchSource) -> Self:
        """The same images, with batches from `source`."""
        served = copy.copy(self)
        served.batch_source = source
        return served

    @property
    def rows_in_file(self) -> int:
        """The number of images in the file, of which this split may hold a part."""
        return int(self._stored.num_rows)

    @property
    def has_masks(self) -> bool:
        """Whether the images have masks."""
        return self.task.facts.masks

    @property
    def has_boxes(self) -> bool:
        """Whether the images have boxes."""
        return self.task.facts.boxes

    @property
    def has_instances(self) -> bool:
        """Whether every box has a mask of its own."""
        return self.task.facts.instances

    @cached_property
    def names(self) -> list[str]:
        """All image names."""
        return list(self._table["name"].to_pylist())

    @cached_property
    def sizes(self) -> Array:
        """(n, 2) stored (height, width)."""
        return self._pair("height", "width")

    @cached_property
    def original_sizes(self) -> Array:
        """(n, 2) (height, width) of the source's image."""
        return self._pair("original_height", "original_width")

    @cached_property
    def uniform(self) -> bool:
        """Whether all images are stored at one size."""
        return len(self) > 0 and bool((self.sizes == self.sizes[0]).all())

    def planes(self, i: int) -> Array:
        """Image i as a (3, height, width) uint8 view."""
        height, width = self.sizes[i]
        return self._images.at(self._place(i)).reshape(3, height, width)

    def image(self, i: int) -> Array:
        """Image i as a (height, width, 3) uint8 view."""
        return self.planes(i).transpose(1, 2, 0)

    def mask(self, i: int) -> Array:
        """Mask i as a (height, width) uint8 view: class indices, 255 for ignored pixels."""
        return self._masks.at(self._place(i)).reshape(tuple(self.sizes[i]))

    def stacked(self, indices: list[int]) -> Array | None:
        """(B, 3, height, width) as one copy, or None if sizes differ or the file has several chunks."""
        return None if self._block is None else self._block[self._places(indices)]

    def stacked_masks(self, indices: list[int]) -> Array | None:
        """(B, height, width) masks, as `stacked`."""
        return None if self._mask_block is None else self._mask_block[self._places(indices)]

    def boxes(self, i: int) -> Array:
        """(n, 4) float64 xywh in original pixels."""
        offsets, values = self._boxes
        return values[offsets[i] : offsets[i + 1]]

    def labels(self, i: int) -> Array:
        """(n,) int64 class indices."""
        offsets, values = self._labels
        return values[offsets[i] : offsets[i + 1]]

    def crowds(self, i: int) -> Array:
        """(n,) bool."""
        offsets, values = self._crowds
        return values[offsets[i] : offsets[i + 1]]

    def areas(self, i: int) -> Array:
        """(n,) float64, as annotated."""
        offsets, values = self._areas
        return values[offsets[i] : offsets[i + 1]]

    @cached_property
    def trainable(self) -> tuple[Array, Array, Array]:
        """The boxes to train on: (n + 1,) offsets of each image's boxes; the boxes as (N, 4) float32 xyxy
        in STORED pixels, cut to the image; their (N,) labels. Crowds are left out.
        """
        offsets, boxes = self._boxes
        # Models train in single precision: so are the targets, which do not depend on the stored version.
        boxes = boxes.astype(np.float32)
        owner = np.repeat(np.arange(len(self)), np.diff(offsets))
        wanted = ~self._crowds[1]
        owner, boxes, labels = owner[wanted], boxes[wanted], self._labels[1][wanted]
        limits = self.sizes[:, ::-1].astype(np.float32)
        scale = (limits / self.original_sizes[:, ::-1].astype(np.float32))[owner]
        near = boxes[:, :2] * scale
        far = (boxes[:, :2] + boxes[:, 2:]) * scale
        corners = np.clip(np.concatenate([near, far], axis=1), 0, np.tile(limits[owner], 2))
        starts = np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=len(self)))])
        return starts, corners.astype(np.float32), labels

    def object_masks(self, i: int) -> Array:
        """(n, height, width) bool, the stored size: the masks of the boxes in `trainable`."""
        codes, crowds = self._table["objects"][i].as_py(), self.crowds(i)
        height, width = (int(side) for side in self.sizes[i])
        kept = [code for code, crowd in zip(codes, crowds, strict=True) if not crowd]
        return decode_all(kept, (height, width))

    def truth(self, i: int) -> Truth:
        """The ground truth of image i."""
        height, width = (int(v) for v in self.original_sizes[i])
        return Truth(
            name=self.names[i],
            height=height,
            width=width,
            boxes=self.boxes(i),
            labels=self.labels(i),
            areas=self.areas(i),
            crowds=self.crowds(i),
            masks=tuple(self._table["masks"][i].as_py()) if self.has_instances else None,
        )

    # --- views --------------------------------------------------------------------------------

    def _place(self, i: int) -> int:
        """The row of image i in the file."""
        return i if self._rows is None else int(self._rows[i])

    def _places(self, indices: list[int]) -> Any:
        return indices if self._rows is None else self._rows[indices]

    def _pair(self, *columns: str) -> Array:
        return np.stack([_numbers(self._table[c]) for c in columns], axis=1)

    @cached_property
    def _images(self) -> _Binary:
        return _Binary(self._stored["image"])

    @cached_property
    def _masks(self) -> _Binary:
        return _Binary(self._stored["mask"])

    @cached_property
    def _block(self) -> Array | None:
        whole = self._images.whole() if self._all_alike else None
        return None if whole is None else whole.reshape(self._stored.num_rows, 3, *self.sizes[0])

    @cached_property
    def _mask_block(self) -> Array | None:
        whole = self._masks.whole() if self._all_alike and self.has_masks else None
        return None if whole is None else whole.reshape(self._stored.num_rows, *self.sizes[0])

    @cached_property
    def _all_alike(self) -> bool:
        """Whether all images in the file have one size."""
        sizes = np.stack([_numbers(self._stored[c]) for c in ("height", "width")], axis=1)
        return len(self) > 0 and bool((sizes == self.sizes[0]).all())

    def _lists(self, column: str) -> tuple[Array, Any]:
        joined = _joined(self._table[column])
        return _numbers(joined.offsets), joined.values

    @cached_property
    def _boxes(self) -> tuple[Array, Array]:
        offsets, values = self._lists("boxes")
        # Folders of the older version hold single precision; their values stay as they were rounded then.
        return offsets, _numbers(values.values).reshape(-1, 4).astype(np.float64, copy=False)

    @cached_property
    def _labels(self) -> tuple[Array, Array]:
        offsets, values = self._lists("labels")
        return offsets, _numbers(values)

    @cached_property
    def _areas(self) -> tuple[Array, Array]:
        offsets, values = self._lists("areas")
        return offsets, _numbers(values)

    @cached_property
    def _crowds(self) -> tuple[Array, Array]:
        offsets, values = self._lists("crowds")
        return offsets, _flags(values)


def _joined(column: Any) -> Any:
    return pa.concat_arrays(column.chunks or [pa.array([], column.type)])


# `to_numpy` of pyarrow imports pandas, which takes longer than all that a worker does until its first step.


def _numbers(values: Any) -> Array:
    """A column or array of numbers, none of them missing."""
    return np.from_dlpack(_joined(values) if isinstance(values, pa.ChunkedArray) else values)


def _flags(values: Any) -> Array:
    """An array of booleans, which Arrow stores as bits."""
    if not len(values):
        return np.zeros(0, bool)
    bits = np.unpackbits(np.frombuffer(values.buffers()[1], np.uint8), bitorder="little")
    return bits[values.offset : values.offset + len(values)].astype(bool)


class _Binary:
    """Rows of a chunked binary column as uint8 views of its buffers."""

    def __init__(self, column: Any) -> None:
        self._starts = [0]
        self._parts: list[tuple[Array, Array]] = []
        for chunk in column.chunks:
            self._starts.append(self._starts[-1] + len(chunk))
            offsets = np.frombuffer(chunk.buffers()[1], np.int64, len(chunk) + 1, chunk.offset * 8)
            data = chunk.buffers()[2]
            self._parts.append((offsets, np.frombuffer(data, np.uint8) if data else np.empty(0, np.uint8)))

    def at(self, i: int) -> Array:
        part = bisect_right(self._starts, i) - 1
        offsets, data = self._parts[part]
        row = i - self._starts[part]
        return data[offsets[row] : offsets[row + 1]]

    def whole(self) -> Array | None:
        """All rows end to end, if they are in one chunk."""
        if len(self._parts) != 1:
            return None
        offsets, data = self._parts[0]
        return data[offsets[0] : offsets[-1]]


@dataclass(frozen=True)
class Prepared:
    """A prepared data set. `meta` holds fingerprint, task, size, counts and the list of data errors.

    domains: the folders of its shifted domains, by name; a corruption needs no folder.
    smaller: the folders of the same images at smaller sizes, from the smallest on.
    folds: the folders of all folds of a cross-validation; the first one is this one.
    """

    path: Path
    classes: tuple[str, ...]
    splits: dict[Split, PreparedSplit]
    meta: dict[str, Any]
    domains: dict[str, Path] = field(default_factory=dict)
    smaller: tuple[Path, ...] = ()
    folds: tuple[Path, ...] = ()

    @property
    def image_size(self) -> tuple[int, int] | None:
        """(height, width) of all images; None if it depends on the image."""
        size = self.meta.get("size", {})
        return (size["height"], size["width"]) if "height" in size else None


def open_prepared(path: Path) -> Prepared:
    """Map a folder made by `prepare_data`. Raises DataError if it is damaged or of another version."""
    try:
        meta = json.loads((path / "meta.json").read_text(encoding="utf-8"))
        version = meta["schema"]
        classes, task = tuple(meta["classes"]), Task(meta["task"])
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path} must be a folder of prepared data ({error}); prepare again") from error
    if version not in VERSIONS:
        raise DataError(
            f"{path} must hold prepared data of version {SINGLE}, {SCHEMA} or {INSTANCES}, got {version}; "
            "remove the folder and prepare again"
        )
    # A folder that links domains or sizes to a data set names the data set, and holds no images itself.
    home = path.parent / meta["images"] if "images" in meta else path
    splits = {split: PreparedSplit(home / f"{split}.arrow", task) for split in Split}
    domains = {name: path.parent / folder for name, folder in meta.get("domains", {}).items()}
    smaller, folds = (
        tuple(path.parent / folder for folder in meta.get(kind, ())) for kind in ("smaller", "folds")
    )
    return Prepared(path, classes, splits, meta, domains, smaller, folds)
