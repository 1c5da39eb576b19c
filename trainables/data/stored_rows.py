"""Writes the rows of a split of prepared data."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa

from trainables.data.check import StoredImage

CHUNK_BYTES = 64 * 2**20
"""Bytes of pixels in a record batch before it is written: this limits the memory of a preparation."""


def write_split(path: Path, rows: Iterable[StoredImage], schema: Any) -> tuple[int, int, int]:
    """Write one part; returns its number of images, of boxes, and of those that are crowds."""
    images = boxes = crowds = held = 0
    pending: list[StoredImage] = []
    with path.open("wb") as file, pa.ipc.new_file(file, schema) as writer:
        for row in rows:
            images, boxes = images + 1, boxes + len(row.found.boxes)
            crowds += int(row.found.crowds.sum())
            pending.append(row)
            held += len(row.planes) + sum(len(code) for code in (*row.found.masks, *row.objects))
            if held >= CHUNK_BYTES:
                writer.write_batch(_record_batch(pending, schema))
                pending, held = [], 0
        if pending:
            writer.write_batch(_record_batch(pending, schema))
    return images, boxes, crowds


def _record_batch(rows: list[StoredImage], schema: Any) -> Any:
    columns = {
        "name": [r.name for r in rows],
        "image": [r.planes for r in rows],
        "mask": [r.mask for r in rows],
        "height": [r.size[0] for r in rows],
        "width": [r.size[1] for r in rows],
        "original_height": [r.original[0] for r in rows],
        "original_width": [r.original[1] for r in rows],
        "boxes": [r.found.boxes.tolist() for r in rows],
        "labels": [r.found.labels.tolist() for r in rows],
        "areas": [r.found.areas.tolist() for r in rows],
        "crowds": [r.found.crowds.tolist() for r in rows],
        "masks": [r.found.masks for r in rows],
        "objects": [r.objects for r in rows],
    }
    return pa.record_batch([pa.array(columns[f.name], f.type) for f in schema], schema=schema)
