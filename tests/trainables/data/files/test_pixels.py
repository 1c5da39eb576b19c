from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from trainables.data.files.pixels import (
    ORIENTATION,
    TURNS,
    read_photo,
    read_size,
    stored_size,
    turn_boxes,
    turn_mask,
)

UNDONE = {6: 8, 8: 6}
"""The orientation that undoes another; the others undo themselves."""


def scene() -> np.ndarray[Any, Any]:
    """(20, 30, 3): a red object at x 4, y 2, 8 wide, 5 high, on grey."""
    pixels = np.full((20, 30, 3), 90, np.uint8)
    pixels[2:7, 4:12] = (220, 30, 30)
    return pixels


def photo(path: Path, pixels: np.ndarray[Any, Any], orientation: int) -> Path:
    """Store an upright scene as a camera does that was held in another way."""
    picture = Image.fromarray(pixels)
    if orientation in TURNS:
        picture = picture.transpose(TURNS[UNDONE.get(orientation, orientation)])
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    picture.save(path, exif=exif)
    return path


@pytest.mark.parametrize("suffix", ["png", "tiff", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_of_every_orientation_are_read_upright(tmp_path: Path, orientation: int, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    if suffix == "webp":
        picture = Image.fromarray(scene())
        if orientation in TURNS:
            picture = picture.transpose(TURNS[UNDONE.get(orientation, orientation)])
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        picture.save(path, lossless=True, exif=exif)
    else:
        photo(path, scene(), orientation)
    read = read_photo(path)
    assert (np.asarray(read.image) == scene()).all()
    assert (read.orientation, read.upright) == (orientation, (20, 30))
    assert read.stored == ((30, 20) if orientation >= 5 else (20, 30))
    assert read_size(path) == (orientation, (20, 30))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_and_masks_turn_with_the_pixels(orientation: int) -> None:
    stored = Image.fromarray(scene())
    if orientation in TURNS:
        stored = stored.transpose(TURNS[UNDONE.get(orientation, orientation)])
    drawn = (np.asarray(stored)[..., 0] > 200).astype(np.uint8)
    rows, columns = np.nonzero(drawn)
    box = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
    turned = turn_boxes(np.array([box], np.float64), orientation, (stored.height, stored.width))
    assert turned.tolist() == [[4, 2, 8, 5]]
    assert (turn_mask(drawn, orientation) == (scene()[..., 0] > 200)).all()
    assert stored_size(stored_size((20, 30), orientation), orientation) == (20, 30)


@pytest.mark.parametrize("value", [0, 9, 255])
def test_an_orientation_without_a_meaning_turns_nothing(tmp_path: Path, value: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = value
    Image.fromarray(scene()).save(tmp_path / "a.png", exif=exif)
    read = read_photo(tmp_path / "a.png")
    assert read.orientation == 1
    assert (np.asarray(read.image) == scene()).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P"])
def test_transparent_parts_become_white(tmp_path: Path, mode: str) -> None:
    pixels = np.zeros((20, 30, 4), np.uint8)
    pixels[2:7, 4:12] = (120, 120, 120, 255)
    picture = Image.fromarray(pixels)
    path = tmp_path / "a.png"
    if mode == "P":
        index = Image.fromarray((pixels[..., 3] // 255).astype(np.uint8), "P")
        index.putpalette([9, 9, 9, 120, 120, 120])
        index.save(path, transparency=0)
    elif mode == "PA":
        path = tmp_path / "a.tiff"
        picture.convert("LA").save(path)
    else:
        picture.convert(mode).save(path)
    read = np.asarray(read_photo(path).image)
    assert (read[2:7, 4:12] == 120).all()
    assert (read[:2] == 255).all()


def test_half_transparent_parts_are_mixed_with_white() -> None:
    file = io.BytesIO()
    Image.new("RGBA", (4, 4), (0, 0, 0, 51)).save(file, "png")
    assert read_photo(file).image.getpixel((0, 0)) == (204, 204, 204)


def test_what_is_wholly_transparent_is_refused() -> None:
    file = io.BytesIO()
    Image.new("RGBA", (4, 4), (10, 20, 30, 0)).save(file, "png")
    with pytest.raises(ValueError, match="transparent; store it without an alpha channel"):
        read_photo(file)


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "RGB"])
def test_other_modes_look_as_in_a_viewer(mode: str) -> None:
    file = io.BytesIO()
    Image.fromarray(scene()).convert(mode).save(file, "tiff")
    read = np.asarray(read_photo(file).image).astype(int)
    wanted = np.asarray(Image.fromarray(scene()).convert(mode).convert("RGB")).astype(int)
    assert np.abs(read - wanted).max() <= 2


@pytest.mark.parametrize(("bits", "brightest"), [(None, 4080 >> 8), (16, 4080 >> 8), (12, 255), (13, 127)])
@pytest.mark.parametrize("order", ["<u2", ">u2"])
def test_deep_greys_are_scaled_by_the_bits_that_are_used(
    tmp_path: Path, bits: int | None, brightest: int, order: str
) -> None:
    values = np.zeros((4, 4), order)
    values[1, 1] = 4080
    mode = "I;16" if order == "<u2" else "I;16B"
    Image.frombytes(mode, (4, 4), values.tobytes()).save(tmp_path / "a.tiff")
    read = read_photo(tmp_path / "a.tiff", bits=bits)
    assert read.image.getpixel((1, 1)) == (brightest,) * 3
    assert read.deepest == 4080


def test_values_above_the_stated_bits_are_refused() -> None:
    file = io.BytesIO()
    Image.fromarray(np.full((4, 4), 5000, np.uint16)).save(file, "png")
    with pytest.raises(ValueError, match=r"to 5000, but 12 bits hold 0 to 4095; .* set data\.bits"):
        read_photo(file, bits=12)


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_pixels_without_a_range_are_refused(tmp_path: Path, dtype: Any) -> None:
    Image.fromarray(np.full((4, 4), 70000, dtype)).save(tmp_path / "a.tiff")
    with pytest.raises(ValueError, match="bits"):
        read_photo(tmp_path / "a.tiff")


@pytest.mark.parametrize("format", ["tiff", "gif", "png", "webp"])
def test_several_pages_are_refused(format: str) -> None:
    frames = [Image.fromarray(scene()), Image.fromarray(scene()[::-1])]
    file = io.BytesIO()
    frames[0].save(file, format, save_all=True, append_images=frames[1:])
    with pytest.raises(ValueError, match="2 pages or frames, and nothing says which"):
        read_photo(file)


def test_a_preview_page_is_no_second_image() -> None:
    info = TiffImagePlugin.ImageFileDirectory_v2()
    info[254] = 1
    small = Image.fromarray(scene()).resize((8, 8))
    small.encoderinfo = {"tiffinfo": info}
    file = io.BytesIO()
    Image.fromarray(scene()).save(file, "tiff", save_all=True, append_images=[small])
    assert (np.asarray(read_photo(file).image) == scene()).all()
