from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from trainables.inference.drawing import LEAST_SIDE, class_colour, draw_boxes, draw_mask, draw_objects


def plain(width: int, height: int, grey: int = 40) -> Image.Image:
    return Image.new("RGB", (width, height), (grey, grey, grey))


def test_a_box_is_drawn_around_its_object_in_its_colour() -> None:
    drawn = np.asarray(draw_boxes(plain(600, 800), [[100, 200, 50, 80]], [1], ["cat 0.90"]))
    assert drawn.shape == (800, 600, 3)
    blue = (drawn == class_colour(1)).all(-1)
    rows, columns = np.nonzero(blue[210:])
    assert (rows.min(), rows.max()) == (0, 70)
    assert (columns.min(), columns.max()) == (100, 150)
    assert (drawn[240, 125] == 40).all()
    assert blue[180:200, 100:].any()


@pytest.mark.parametrize("at", [[0, 0, 5, 5], [595, 795, 5, 5], [0, 795, 600, 5]])
def test_text_stays_inside_the_picture(at: list[int]) -> None:
    bare = np.asarray(draw_boxes(plain(600, 800), [at], [0], [""]))
    told = np.asarray(draw_boxes(plain(600, 800), [at], [0], ["a long name 0.99"]))
    assert (bare != told).any(-1).sum() > 500


def test_small_images_are_enlarged_by_a_whole_number() -> None:
    drawn = draw_boxes(plain(64, 48), [[8, 8, 16, 16]], [0], ["x"])
    assert drawn.size == (512, 384)
    assert max(drawn.size) >= LEAST_SIDE
    columns = np.nonzero((np.asarray(drawn)[130] == class_colour(0)).all(-1))[0]
    assert (columns.min(), columns.max()) == (64, 192)


def test_a_mask_is_laid_over_with_a_legend_of_what_is_there() -> None:
    mask = np.zeros((512, 512), np.uint8)
    mask[100:200, 100:200] = 2
    drawn = np.asarray(draw_mask(plain(512, 512), mask, ["ground", "a", "b"], ["", "a 0 %", "b 4 %"]))
    assert drawn.shape[0] > 512
    assert drawn.shape[1] == 512
    expected = np.round(0.6 * 40 + 0.4 * np.array(class_colour(1)))
    assert (drawn[150, 150] == expected).all()
    assert (drawn[100, 150] == class_colour(1)).all()
    assert (drawn[50, 50] == 40).all()
    legend = drawn[512:].reshape(-1, 3)
    assert (legend == class_colour(1)).all(-1).any()
    assert not (legend == class_colour(0)).all(-1).any()


def test_a_mask_of_nothing_leaves_the_image() -> None:
    empty = draw_mask(plain(512, 300), np.zeros((300, 512), np.uint8), ["ground", "a"], ["", "a"])
    assert (np.asarray(empty) == 40).all()
    assert empty.size == (512, 300)


def test_21_classes_have_colours_of_their_own() -> None:
    assert len({class_colour(i) for i in range(21)}) == 21
    assert class_colour(21) == class_colour(0)


def test_masks_of_objects_are_laid_over_in_their_classes_colours() -> None:
    masks = np.zeros((2, 48, 64), bool)
    masks[0, 10:30, 10:30] = True
    masks[1, 20:40, 20:40] = True
    drawn = np.asarray(draw_objects(plain(64, 48), list(masks), [0, 1]))
    assert drawn.shape == (48, 64, 3)
    inside = [np.round(0.6 * 40 + 0.4 * np.array(class_colour(i))) for i in (0, 1)]
    assert (drawn[15, 15] == inside[0]).all()
    assert (drawn[35, 35] == inside[1]).all()
    assert (drawn[10, 15] == class_colour(0)).all()
    assert (drawn[20, 25] == class_colour(1)).all()  # the last is on top
    assert (drawn[5, 5] == 40).all()
    assert (np.asarray(draw_objects(plain(64, 48), [], [])) == 40).all()
