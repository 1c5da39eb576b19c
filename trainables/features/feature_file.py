"""A file of hidden states: one row for each image, filled by any number of processes.

A row is written first and then marked with its checksum, so a row that is only partly there, after a crash or
on a full disk, is not marked, or fails its check, and is computed again. Rows are read through a memory map,
which the processes of a machine share; they are written with `pwrite`, because a write through a map on a
full disk would kill the process.
"""

from __future__ import annotations

import fcntl
import json
import os
import weakref
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import JsonValue

from trainables.data.prepared import Array

MAGIC = b"ATFEAT01"
RESERVED_AT, JSON_AT = 8, 16
"""Where the reserved bytes and the key are in the header."""
HEADER = 8192
PAGE = 4096
MARK = 8
"""Bytes of a mark: 1 · 2^32 + the checksum of the row; 0 for a row that is not there."""
_PRESENT = 1 << 32


@dataclass(frozen=True)
class FileShape:
    """What a file holds.

    key: all that its rows depend on.  rows: the number of images.  row_bytes: of the states of one image.
    """

    key: Mapping[str, JsonValue]
    rows: int
    row_bytes: int

    @property
    def described(self) -> bytes:
        """The header's text."""
        held = {"key": dict(self.key), "rows": self.rows, "row_bytes": self.row_bytes}
        return json.dumps(held, sort_keys=True).encode()

    @property
    def data_at(self) -> int:
        """Where the rows begin."""
        return HEADER + -(-self.rows * MARK // PAGE) * PAGE

    @property
    def size(self) -> int:
        """The size of the complete file."""
        return self.data_at + self.rows * self.row_bytes

    def needed(self, rows: int) -> int:
        """The bytes that this many rows take on the disk."""
        return self.data_at + rows * self.row_bytes


class FeatureFile:
    """An open file. While it is open it holds a shared lock, which keeps it from being removed as old."""

    def __init__(self, path: Path, shape: FileShape) -> None:
        """Open an existing file. Raises OSError, and ValueError if it holds something else."""
        descriptor = os.open(path, os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            if os.pread(descriptor, len(MAGIC), 0) != MAGIC or os.fstat(descriptor).st_size != shape.size:
                raise ValueError(f"{path} is not a complete file of features")
            if os.pread(descriptor, HEADER - JSON_AT, JSON_AT).rstrip(b"\0") != shape.described:
                raise ValueError(f"{path} holds other features")
            whole = np.frombuffer(mmap(descriptor, shape.size, access=ACCESS_READ), np.uint8)
        except BaseException:
            os.close(descriptor)
            raise
        self.path, self.shape = path, shape
        self._descriptor = descriptor
        self._close = weakref.finalize(self, os.close, descriptor)
        self._marks = whole[HEADER : HEADER + shape.rows * MARK].view(np.uint64)
        self._rows = whole[shape.data_at :].reshape(shape.rows, shape.row_bytes)
        self._checked = np.zeros(shape.rows, bool)
        """The rows whose checksum this process has compared."""
        self.full: OSError | None = None
        """Why nothing more is written."""

    @staticmethod
    def create(path: Path, shape: FileShape) -> None:
        """Write an empty file in one step. It is sparse: rows take space when they are written."""
        if len(shape.described) > HEADER - JSON_AT:
            raise ValueError("the key of a file of features is too long for its header")
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with temporary.open("wb") as file:
                file.write(MAGIC + bytes(8) + shape.described)
                # Marks are read through the map: on some file systems that needs pages that exist.
                file.write(bytes(shape.data_at - file.tell()))
                file.truncate(shape.size)
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise

    def reserve(self, needed: int) -> None:
        """Note that the file will take `needed` bytes, for other processes that look for space."""
        if needed > self.reserved:
            os.pwrite(self._descriptor, np.uint64(needed).tobytes(), RESERVED_AT)

    @property
    def reserved(self) -> int:
        """The bytes that were reserved so far."""
        return reserved_in(self._descriptor)

    def read(self, rows: Sequence[int]) -> Array | None:
        """A copy of these rows, (n, row_bytes) uint8; None if one of them is absent or damaged."""
        places = np.asarray(rows, np.int64)
        marks = self._marks[places]
        if not marks.all():
            return None
        found: Array = self._rows[places]
        for at in np.flatnonzero(~self._checked[places]):
            if int(marks[at]) != _mark_of(found[at]):
                return None
            self._checked[places[at]] = True
        return found

    def write(self, rows: Sequence[int], states: Array) -> None:
        """Keep these rows, (n, row_bytes) uint8. A disk without space is noted in `full`, not raised.

        Rows that are there are not written again: they may be read at this moment.
        """
        for row, state in zip(rows, states, strict=True):
            if self.full is not None:
                return
            if self._checked[row] or self._holds(row):
                continue
            try:
                self._put(state, self.shape.data_at + row * self.shape.row_bytes)
                self._put(np.array([_mark_of(state)], np.uint64), HEADER + row * MARK)
            except OSError as error:
                self.full = error

    def filled(self) -> int:
        """The number of marked rows."""
        return int(np.count_nonzero(self._marks))

    def _holds(self, row: int) -> bool:
        mark = int(self._marks[row])
        return mark != 0 and mark == _mark_of(self._rows[row])

    def _put(self, values: Array, at: int) -> None:
        left = np.ascontiguousarray(values).data.cast("B")
        while left:
            written = os.pwrite(self._descriptor, left, at)
            left, at = left[written:], at + written


def reserved_in(descriptor: int) -> int:
    """The bytes that were reserved for an open file; 0 for a file of another kind."""
    if os.pread(descriptor, len(MAGIC), 0) != MAGIC:
        return 0
    return int.from_bytes(os.pread(descriptor, 8, RESERVED_AT), "little")


def _mark_of(row: Any) -> int:
    return _PRESENT | zlib.crc32(np.ascontiguousarray(row).data)
