"""How pixels are read, by the same function for training, domains, masks' photos and `predict`.

A photo is turned upright, as its EXIF orientation says. Transparent parts become white, as a viewer shows
them. Grey values of more than 8 bits are scaled by the number of bits that the data use.
A file of several pages or frames is refused, because nothing says which one was annotated.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image

Array = np.ndarray[Any, np.dtype[Any]]

ORIENTATION = 0x0112
"""The EXIF tag for the orientation of the camera."""
SIDEWAYS = 5
"""From this orientation on, height and width are exchanged."""
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns stored pixels upright, by EXIF orientation."""
FULL_BITS = 16
"""The bits of a deep grey value, unless `data.bits` says otherwise."""
FIRST_IS_WHOLE = frozenset({"MPO", "PSD", "ICO", "ICNS"})
"""Formats whose further frames are previews, layers or other sizes of the first."""
WITH_ALPHA = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})
"""Pillow's modes with an alpha channel."""
MULTIPLIED = {"La": "LA", "RGBa": "RGBA"}
"""Those whose colours are multiplied by alpha, and the same ones without."""
REDUCED = 254
"""The TIFF tag that marks a page as a smaller copy of another."""


POINTS = "bilinear_points"
"""See `trainables.data.resize.Interpolation`; the others are Pillow's own."""


@dataclass(frozen=True)
class Photo:
    """An image as read.

    image: RGB, upright.  orientation: the EXIF orientation (1 to 8) of the stored pixels.
    deepest: the largest stored grey value if the file has more than 8 bits, otherwise None.
    """

    image: Image.Image
    orientation: int = 1
    deepest: int | None = None

    @property
    def upright(self) -> tuple[int, int]:
        """(height, width), upright."""
        return self.image.height, self.image.width

    @property
    def stored(self) -> tuple[int, int]:
        """(height, width) of the stored pixels."""
        return stored_size(self.upright, self.orientation)


def read_photo(file: str | Path | IO[bytes], *, bits: int | None = None) -> Photo:
    """Decode an image to upright RGB.

    bits: how many bits of a deeper grey value are used; 16 when absent.
    Raises ValueError for pixels whose meaning is unknown, and whatever Pillow raises.
    """
    with Image.open(file) as picture:
        check_one_page(picture)
        cut = cut_to_8_bits(picture)
        before = picture.getexif().get(ORIENTATION, 1)
        picture.load()
        if cut and bits not in (None, FULL_BITS):
            raise ValueError(
                f"it has 16 bits in each of several channels, of which only the upper 8 can be read, but "
                f"data.bits is {bits}; store it in grey, or with 8 bits"
            )
        turned = turn_upright(picture)
        deepest = _deepest(turned)
        image = opaque(_eight_bits(turned, bits or FULL_BITS, deepest))
    return Photo(image, known_orientation(before), deepest)


def read_size(file: str | Path | IO[bytes]) -> tuple[int, tuple[int, int]]:
    """The orientation and the upright (height, width) of an image. Raises whatever Pillow raises."""
    with Image.open(file) as picture:
        orientation = known_orientation(picture.getexif().get(ORIENTATION, 1))
        size = (picture.height, picture.width)
        # Pillow gives the size of a TIFF as it is after turning.
        return orientation, size if picture.format == "TIFF" else stored_size(size, orientation)


# --- orientation ------------------------------------------------------------------------------


def known_orientation(value: Any) -> int:
    """An EXIF orientation; 1, upright, for a value that has no meaning."""
    return value if value in TURNS else 1


def stored_size(upright: tuple[int, int], orientation: int) -> tuple[int, int]:
    """(height, width) of the stored pixels of an upright image; and the other way round."""
    return upright[::-1] if orientation >= SIDEWAYS else upright


def turn_upright(picture: Image.Image) -> Image.Image:
    """A loaded image, turned as its EXIF says; one whose decoder has done so carries no orientation."""
    # Not `ImageOps.exif_transpose`: it fails on other EXIF fields that are damaged.
    method = TURNS.get(picture.getexif().get(ORIENTATION, 1))
    return picture if method is None else picture.transpose(method)


def turn_mask(mask: Array, orientation: int) -> Array:
    """A (height, width) mask of stored pixels, upright."""
    method = TURNS.get(orientation)
    return mask if method is None else np.asarray(Image.fromarray(mask).transpose(method))


def turn_boxes(boxes: Array, orientation: int, stored: tuple[int, int]) -> Array:
    """(n, 4) xywh on stored pixels of (height, width) `stored`, as xywh on the upright image."""
    height, width = stored
    x, y, w, h = boxes.T
    right, below = width - x - w, height - y - h
    turned = {
        2: (right, y, w, h),
        3: (right, below, w, h),
        4: (x, below, w, h),
        5: (y, x, h, w),
        6: (below, x, h, w),
        7: (below, right, h, w),
        8: (y, right, h, w),
    }.get(orientation, (x, y, w, h))
    return np.stack(turned, axis=1)


# --- pages, bits, transparency ----------------------------------------------------------------


def check_one_page(picture: Image.Image) -> None:
    """Raise ValueError for several pages or frames; leaves the first one selected."""
    pages = getattr(picture, "n_frames", 1)
    if pages == 1 or picture.format in FIRST_IS_WHOLE:
        return
    if picture.format == "TIFF":
        picture.seek(0)
        whole = [page for page in range(pages) if not _is_reduced(picture, page)]
        picture.seek(0)
        if whole == [0]:
            return
    raise ValueError(
        f"it has {pages} pages or frames, and nothing says which one is meant; store one image in each file"
    )


def _is_reduced(picture: Any, page: int) -> bool:
    picture.seek(page)
    return bool(picture.tag_v2.get(REDUCED, 0) & 1)


def cut_to_8_bits(picture: Image.Image) -> bool:
    """Whether Pillow keeps only the upper 8 of 16 bits, as it does for colour; ask before it is loaded."""
    tiles: list[Any] = getattr(picture, "tile", [])
    modes = [t[3] if isinstance(t[3], str) else (t[3] or ("",))[0] for t in tiles if len(t) > 3]
    return picture.mode in {"RGB", "RGBA", "RGBX", "LA", "CMYK"} and any(";16" in str(m) for m in modes)


def _deepest(picture: Image.Image) -> int | None:
    """The largest value of a grey image with more than 8 bits."""
    if picture.mode == "F":
        raise ValueError("its pixels are fractions ('F'), whose range is unknown; store 8 or 16 bits")
    if picture.mode == "I" or picture.mode.startswith("I;16"):
        values = np.asarray(picture)
        return int(values.max()) if values.size else 0
    return None


def _eight_bits(picture: Image.Image, bits: int, deepest: int | None) -> Image.Image:
    """A deep image scaled to 8 bits; others as they are."""
    if deepest is None:
        return picture
    values = np.asarray(picture).astype(np.int64)
    if deepest >= 2**bits or (values.size and values.min() < 0):
        raise ValueError(
            f"its values go from {values.min()} to {deepest}, but {bits} bits hold 0 to {2**bits - 1}; "
            "store 16 bits, and set data.bits to the number that is used"
        )
    # Pillow would clip values at 255.
    return Image.fromarray((values >> (bits - 8)).astype(np.uint8))


def opaque(picture: Image.Image) -> Image.Image:
    """RGB, with transparent parts on white."""
    if not is_transparent(picture):
        return picture.convert("RGB")
    layer = unmultiplied(picture).convert("RGBA")
    low, high = layer.getchannel("A").getextrema()
    if high == 0:
        raise ValueError("all of its pixels are transparent; store it without an alpha channel")
    if low == 255:
        return layer.convert("RGB")
    ground = Image.new("RGBA", layer.size, "white")
    return Image.alpha_composite(ground, layer).convert("RGB")


def is_transparent(picture: Image.Image) -> bool:
    """Whether the file can hold transparent pixels: by an alpha channel, or a colour that stands for them."""
    return picture.mode in WITH_ALPHA or "transparency" in picture.info


def unmultiplied(picture: Image.Image) -> Image.Image:
    """The image with its colours as they are, where they are stored multiplied by alpha."""
    mode = MULTIPLIED.get(picture.mode)
    return picture if mode is None else picture.convert(mode)


def resized(image: Image.Image, size: tuple[int, int], interpolation: str) -> Array:
    """(height, width, 3) uint8: an RGB image in the size (height, width).

    interpolation: a value of `trainables.data.resize.Interpolation`.
    """
    height, width = size
    if (image.height, image.width) == size:
        return np.array(image)
    if interpolation == POINTS:
        whole = (0, 0, image.width, image.height)
        made = image.transform(
            (width, height), Image.Transform.EXTENT, whole, resample=Image.Resampling.BILINEAR
        )
    else:
        made = image.resize((width, height), Image.Resampling[interpolation.upper()])
    return np.array(made)
