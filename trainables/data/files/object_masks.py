"""The masks of single objects in COCO's compressed run-length encoding, as bytes.

The encoding is that of pycocotools (`counts` of `mask.encode`), which hotcoco computes alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image

from trainables.data.files.drawn_masks import Outline
from trainables.data.files.pixels import Photo, turn_mask
from trainables.data.sample import Annotations, Array

NO_OUTLINE = "has no polygon or mask, so its pixels are not known"
COVERS_NOTHING = "has a polygon or mask that covers no pixel of the image"


def encode(mask: Array) -> bytes:
    """The code of a (height, width) bool mask."""
    from hotcoco import mask as coco_mask

    return bytes(coco_mask.encode(np.asfortranarray(mask, np.uint8))["counts"])


def decode(code: bytes, size: tuple[int, int]) -> Array:
    """(height, width) bool: the mask of a code. size: (height, width)."""
    from hotcoco import mask as coco_mask

    return np.asarray(coco_mask.decode({"size": list(size), "counts": code})).astype(bool)


def decode_all(codes: Sequence[bytes], size: tuple[int, int]) -> Array:
    """(n, height, width) bool."""
    return np.stack([decode(code, size) for code in codes]) if codes else np.zeros((0, *size), bool)


def boxes_around(codes: Sequence[bytes], size: tuple[int, int]) -> Array:
    """(n, 4) float64 xywh in pixels; all 0 for a mask that covers nothing."""
    from hotcoco import mask as coco_mask

    found = [coco_mask.toBbox({"size": list(size), "counts": code}) for code in codes]
    return np.asarray(found, np.float64).reshape(-1, 4)


def resized_code(code: bytes, size: tuple[int, int], target: tuple[int, int]) -> bytes:
    """The code of a mask of `size` after resizing to `target`, both (height, width), by nearest pixels."""
    if size == target:
        return code
    picture = Image.fromarray(decode(code, size).view(np.uint8))
    return encode(np.asarray(picture.resize((target[1], target[0]), Image.Resampling.NEAREST)) > 0)


def with_masks(found: Annotations, photo: Photo) -> tuple[Annotations, list[str]]:
    """The objects whose pixels are known, with their masks on the upright image, and what the others lack.

    An area that the data do not give is then the mask's number of pixels. Raises ValueError for a mask in
    run-length encoding of another size than the image.
    """
    wrong: list[str] = []
    codes: list[bytes] = []
    areas = found.areas.copy()
    keep = np.ones(len(found.boxes), bool)
    for i, outline in enumerate(found.shapes or [None] * len(found.boxes)):
        code, area = b"", 0
        if outline is not None:
            mask = _upright(outline, photo, turned=found.turned)
            area = int(mask.sum())
            code = encode(mask)
        if not area:
            keep[i] = False
            wrong.append(f"object {i} {NO_OUTLINE if outline is None else COVERS_NOTHING}")
        if np.isnan(areas[i]):
            areas[i] = area
        codes.append(code)
    return replace(found, masks=tuple(codes), areas=areas).only(keep), wrong


def _upright(outline: Outline, photo: Photo, *, turned: bool) -> Array:
    if turned:
        stored = outline.pixels(photo.stored).view(np.uint8)
        return turn_mask(stored, photo.orientation).astype(bool)
    return outline.pixels(photo.upright)
