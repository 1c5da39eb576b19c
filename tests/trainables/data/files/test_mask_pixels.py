from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from trainables.data.files.mask_pixels import TRANSPARENT, read_mask

OBJECT = np.zeros((20, 30), bool)
OBJECT[2:7, 4:12] = True


def palette_mask(path: Path, first: int, second: int, *, indices: Any = None) -> Path:
    picture = Image.fromarray((OBJECT if indices is None else indices).astype(np.uint8), "P")
    picture.putpalette([first] * 3 + [second] * 3)
    picture.save(path)
    return path


def test_what_is_not_painted_is_transparent(tmp_path: Path) -> None:
    """An editor's layer: white everywhere, and opaque on the object only."""
    layer = np.full((20, 30, 4), 255, np.uint8)
    layer[..., 3] = 255 * OBJECT
    Image.fromarray(layer).save(tmp_path / "a.png")
    values = read_mask(tmp_path / "a.png", values=(0, 255)).values
    assert (values == np.where(OBJECT, 255, TRANSPARENT)).all()


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_hidden_colours_do_not_count(tmp_path: Path, mode: str) -> None:
    layer = np.random.default_rng(0).integers(0, 256, (20, 30, 4), np.uint8)
    layer[OBJECT] = (1, 1, 1, 255)
    layer[~OBJECT, 3] = 0
    Image.fromarray(layer).convert(mode).save(tmp_path / "a.png")
    assert (read_mask(tmp_path / "a.png").values == np.where(OBJECT, 1, TRANSPARENT)).all()


def test_a_colour_that_stands_for_transparency(tmp_path: Path) -> None:
    Image.fromarray(np.where(OBJECT, 255, 7).astype(np.uint8)).save(tmp_path / "a.png", transparency=7)
    assert (read_mask(tmp_path / "a.png").values == np.where(OBJECT, 255, TRANSPARENT)).all()


@pytest.mark.parametrize("mode", ["L", "P"])
@pytest.mark.parametrize("key", [1, 255])
def test_a_key_hides_no_value_that_has_a_meaning(tmp_path: Path, mode: str, key: int) -> None:
    stored = np.where(OBJECT, 1, 0).astype(np.uint8)
    stored[10:] = 255
    picture = Image.fromarray(stored)
    if mode == "P":
        picture = Image.fromarray(stored, "P")
        picture.putpalette([value for i in range(256) for value in (i, 0, 255 - i)])
    picture.save(tmp_path / "a.png", transparency=key)
    known = np.zeros(2**16, bool)
    known[[0, 1, 255]] = True
    assert (read_mask(tmp_path / "a.png", known=known).values == stored).all()
    known[key] = False
    hidden = np.where(stored == key, TRANSPARENT, stored.astype(int))
    assert (read_mask(tmp_path / "a.png", known=known).values == hidden).all()


def test_an_alpha_channel_counts_whatever_it_hides(tmp_path: Path) -> None:
    layer = np.stack([np.ones_like(OBJECT, np.uint8), 255 * OBJECT.astype(np.uint8)], axis=2)
    Image.fromarray(layer).save(tmp_path / "a.png")
    known = np.ones(2**16, bool)
    assert (read_mask(tmp_path / "a.png", known=known).values == np.where(OBJECT, 1, TRANSPARENT)).all()


def test_an_empty_layer_is_an_empty_mask_unless_it_hides_something(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 3)).save(tmp_path / "empty.png")
    assert (read_mask(tmp_path / "empty.png").values == TRANSPARENT).all()
    layer = np.zeros((20, 30, 4), np.uint8)
    layer[OBJECT, :3] = 255
    Image.fromarray(layer).save(tmp_path / "hides.png")
    with pytest.raises(ValueError, match="transparent, but hide different values"):
        read_mask(tmp_path / "hides.png")


@pytest.mark.parametrize("turned", [False, True], ids=["black first", "white first"])
def test_greys_of_a_palette_are_looked_up_where_they_are_the_values(tmp_path: Path, turned: bool) -> None:
    first, second = (255, 0) if turned else (0, 255)
    indices = ~OBJECT if turned else OBJECT
    path = palette_mask(tmp_path / "a.png", first, second, indices=indices)
    assert (read_mask(path, values=(0, 255)).values == 255 * OBJECT).all()
    found = read_mask(path)
    assert (found.values == indices).all()
    assert found.falling is turned


def test_an_image_with_one_of_the_greys_is_looked_up_too(tmp_path: Path) -> None:
    path = palette_mask(tmp_path / "a.png", 255, 0, indices=np.zeros((4, 4)))
    assert (read_mask(path, values=(0, 255)).values == 255).all()


def test_indices_count_where_the_palette_only_shows_colours(tmp_path: Path) -> None:
    picture = Image.fromarray(OBJECT.astype(np.uint8), "P")
    picture.putpalette([0, 0, 0, 128, 0, 0])
    picture.save(tmp_path / "voc.png")
    assert (read_mask(tmp_path / "voc.png").values == OBJECT).all()
    assert (read_mask(tmp_path / "voc.png", values=(0, 1)).values == OBJECT).all()
    grey = palette_mask(tmp_path / "grey.png", 0, 255)
    assert (read_mask(grey, values=(0, 1)).values == OBJECT).all()


@pytest.mark.parametrize("mode", ["1", "L", "I", "I;16", "F", "RGB", "RGBA"])
def test_every_mode_with_one_value_per_pixel(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "a.tiff"
    Image.fromarray(OBJECT if mode == "1" else OBJECT.astype(np.uint8)).convert(mode).save(path)
    assert (read_mask(path).values == OBJECT).all()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.full((4, 4), 0.5, np.float32), "whole numbers in 0 to 65535"),
        (np.full((4, 4), -1, np.int32), "whole numbers in 0 to 65535"),
        (np.full((4, 4), 70000, np.int32), "whole numbers in 0 to 65535"),
        (np.arange(48, dtype=np.uint8).reshape(4, 4, 3), "colour image"),
    ],
)
def test_what_has_no_single_whole_value_is_refused(tmp_path: Path, values: Any, words: str) -> None:
    Image.fromarray(values).save(tmp_path / "a.tiff")
    with pytest.raises(ValueError, match=words):
        read_mask(tmp_path / "a.tiff")


def test_cmyk_and_pages_are_refused(tmp_path: Path) -> None:
    Image.new("CMYK", (4, 4)).save(tmp_path / "a.tiff")
    with pytest.raises(ValueError, match="colour image"):
        read_mask(tmp_path / "a.tiff")
    page = Image.new("L", (4, 4))
    page.save(tmp_path / "b.tiff", save_all=True, append_images=[page])
    with pytest.raises(ValueError, match="2 pages"):
        read_mask(tmp_path / "b.tiff")


@pytest.mark.parametrize(
    ("values", "white"), [(None, 1), ((0, 255), 255), ((255, 0), 255), ((0, 1), 1), ((0, 1, 255), 255)]
)
def test_one_bit_holds_what_the_data_s_values_say(tmp_path: Path, values: Any, white: int) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(OBJECT == 1).save(path)
    assert (read_mask(path, values=values).values == np.where(OBJECT == 1, white, 0)).all()
