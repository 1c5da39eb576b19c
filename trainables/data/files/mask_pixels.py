"""How the values of a mask are read: one whole number for each pixel, upright."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image

from trainables.data.files.pixels import (
    ORIENTATION,
    WITH_ALPHA,
    check_one_page,
    cut_to_8_bits,
    is_transparent,
    known_orientation,
    stored_size,
    turn_upright,
    unmultiplied,
)

Array = np.ndarray[Any, np.dtype[Any]]

VALUES = 2**16
"""The number of possible mask values: they have 8 or 16 bits."""
IGNORE = 255
"""The prepared mask value of pixels that are not counted."""
ONE_VALUE = "a mask has one value per pixel: store its class index, or a grey value, in one channel"
TRANSPARENT = -1
"""Stands for a pixel that nothing was painted on."""
OPAQUE_FROM = 128
"""The alpha from which a pixel counts as painted."""
LOSSY = frozenset({"JPEG", "MPO", "WEBP", "JPEG2000", "AVIF"})
"""Formats that change values as they compress."""


@dataclass(frozen=True)
class MaskFile:
    """A mask as read.

    values: (height, width) int32 in 0 to 65535, `TRANSPARENT` where nothing was painted; upright by the
    file's own orientation.  orientation: that orientation.  falling: whether it is a palette of two greys
    with the lighter one first, so that a viewer shows other values than those that count.
    """

    values: Array
    orientation: int
    format: str | None
    falling: bool = False

    @property
    def stored(self) -> tuple[int, int]:
        """(height, width) of the stored pixels."""
        height, width = self.values.shape
        return stored_size((height, width), self.orientation)


def read_mask(
    path: str | Path | IO[bytes], *, values: Collection[int] | None = None, known: Array | None = None
) -> MaskFile:
    """Read a mask file.

    values: the grey values that have a meaning; when absent, pixels hold class indices. With them, black and
    white of 1 bit are 0 and 255 unless only 1 has a meaning, and the entries of a palette of greys are looked
    up where these are the values.
    known: (65536,) bool, the values that have a meaning, which a colour key or a transparent entry of a
    palette hides from viewers only; when absent, such pixels count as not painted.
    Raises ValueError if a pixel has no single whole value, and whatever Pillow raises.
    """
    with Image.open(path) as drawing:
        check_one_page(drawing)
        if cut_to_8_bits(drawing):
            raise ValueError("it has 16 bits in each of several channels; store one grey channel")
        before = drawing.getexif().get(ORIENTATION, 1)
        drawing.load()
        turned = turn_upright(drawing)
        found = _whole_numbers(_channel(turned, values))
        if is_transparent(turned):
            found = _painted(turned, found, known)
        falling = values is None and _is_falling(turned)
    return MaskFile(found, known_orientation(before), drawing.format, falling)


def _channel(drawing: Image.Image, values: Collection[int] | None) -> Array:
    """(height, width): the one value of each pixel, whatever its alpha."""
    if drawing.mode == "1":
        # Two values, which a viewer shows as 0 and 255: the data's own values say which are meant.
        bits = values is None or (1 in values and 255 not in values)
        return np.asarray(drawing if bits else drawing.convert("L"))
    if drawing.mode in {"P", "PA"}:
        raw = np.asarray(drawing)
        indices = raw[..., 0] if raw.ndim == 3 else raw
        return indices if values is None else _looked_up(drawing, indices, values)
    drawing = unmultiplied(drawing)
    raw = np.asarray(drawing)
    if raw.ndim == 2:
        return raw
    if drawing.mode not in {"LA", "RGB", "RGBA", "RGBX"}:
        raise ValueError(f"it is a colour image ('{drawing.mode}'); {ONE_VALUE}")
    colours = raw[..., : 1 if drawing.mode == "LA" else 3]
    shown = colours
    if drawing.mode == "RGBA":  # what is hidden may have any colour
        shown = colours[raw[..., 3] >= OPAQUE_FROM]
    if (shown != shown[..., :1]).any():
        raise ValueError(f"it is a colour image; {ONE_VALUE}")
    return colours[..., 0]


def _looked_up(drawing: Image.Image, indices: Array, values: Collection[int]) -> Array:
    """The palette's greys if these are `values`, otherwise the indices, as the tools of VOC store classes."""
    palette = np.asarray(drawing.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
    used = np.unique(indices)
    if not used.size or used.max() >= len(palette):
        return indices
    seen = palette[used]
    grey = bool((seen == seen[:, :1]).all())
    return palette[indices, 0] if grey and {int(v) for v in seen[:, 0]} <= set(values) else indices


def _painted(drawing: Image.Image, found: Array, known: Array | None) -> Array:
    """The values, with `TRANSPARENT` where alpha says so."""
    if drawing.mode in WITH_ALPHA:
        hidden = np.asarray(drawing)[..., -1] < OPAQUE_FROM
    else:
        # A key is a value that a tool shows through, such as that of pixels that are not to be counted.
        hidden = np.asarray(drawing.convert("RGBA"))[..., 3] < OPAQUE_FROM
        if known is not None:
            hidden &= ~known[found]
    if hidden.all() and found.size and found.min() != found.max():
        raise ValueError("all of its pixels are transparent, but hide different values")
    return np.where(hidden, TRANSPARENT, found)


def _whole_numbers(raw: Array) -> Array:
    if raw.dtype.kind == "f" and raw.size and np.isfinite(raw).all() and (raw == np.round(raw)).all():
        raw = raw.astype(np.int64)
    if raw.dtype.kind not in "bui" or (raw.size and (raw.min() < 0 or raw.max() >= VALUES)):
        raise ValueError(f"its values must be whole numbers in 0 to {VALUES - 1}")
    return raw.astype(np.int32)


def _is_falling(drawing: Image.Image) -> bool:
    if drawing.mode != "P":
        return False
    palette = np.asarray(drawing.getpalette("RGB") or [], np.int64).reshape(-1, 3)
    two = palette[:2]
    if len(two) < 2 or (two != two[:, :1]).any() or (palette[2:] != 0).any():
        return False
    return bool(two[0, 0] > two[1, 0])
