"""Photos that a camera stored in another way than they were seen, with one bright object each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from trainables.data.files.pixels import ORIENTATION, TURNS

BACK = {6: 8, 8: 6}
BOX = (4, 2, 8, 5)
"""xywh of the object on the upright photo."""


def upright(height: int = 20, width: int = 30) -> np.ndarray[Any, Any]:
    """(height, width, 3): grey, with a bright object."""
    pixels = np.full((height, width, 3), 60, np.uint8)
    x, y, w, h = BOX
    pixels[y : y + h, x : x + w] = 220
    return pixels


def as_stored(picture: Image.Image, orientation: int) -> Image.Image:
    """The pixels that a camera stores for an upright picture."""
    back = TURNS.get(BACK.get(orientation, orientation))
    return picture if back is None else picture.transpose(back)


def save_photo(path: Path, orientation: int, height: int = 20, width: int = 30) -> None:
    """Save the scene with its orientation in EXIF."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    as_stored(Image.fromarray(upright(height, width)), orientation).save(path, exif=exif)


def object_mask(height: int = 20, width: int = 30) -> Image.Image:
    """The upright scene's mask: 1 on the object."""
    return Image.fromarray((upright(height, width)[..., 0] > 200).astype(np.uint8))


def box_as_stored(orientation: int, height: int = 20, width: int = 30) -> list[int]:
    """xywh of the object on the stored pixels."""
    drawn = np.asarray(as_stored(object_mask(height, width), orientation))
    rows, columns = np.nonzero(drawn)
    return [int(columns.min()), int(rows.min()), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1]
