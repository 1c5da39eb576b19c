from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from trainables.data.augment import augment_image, augment_targets
from trainables.specs.trial import Augment

HEIGHT, WIDTH = 64, 96
BOXES = np.array([[10, 12, 34, 30], [50, 20, 86, 60]], np.float32)


def _scene() -> tuple[Any, Any]:
    """Two filled boxes, the first in red, the second in green; the mask names them 1 and 2."""
    image, mask = np.zeros((3, HEIGHT, WIDTH), np.uint8), np.zeros((HEIGHT, WIDTH), np.uint8)
    for i, (x0, y0, x1, y1) in enumerate(BOXES.astype(int)):
        image[i, y0:y1, x0:x1] = 255
        mask[y0:y1, x0:x1] = i + 1
    return image, mask


def _extent(where: Any) -> list[int]:
    rows, columns = np.nonzero(where)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def _change(spec: Augment, seed: int) -> Any:
    image, mask = _scene()
    return augment_image(image, BOXES, mask, spec, np.random.default_rng(seed))


def test_a_flip_by_hand() -> None:
    image, mask = _scene()
    changed = _change(Augment(horizontal_flip=1.0), 0)
    assert (changed.image == image[:, :, ::-1]).all()
    assert (changed.mask == mask[:, ::-1]).all()
    assert changed.boxes.tolist() == [[62, 12, 86, 30], [10, 20, 46, 60]]
    changed = _change(Augment(vertical_flip=1.0), 0)
    assert (changed.image == image[:, ::-1]).all()
    assert changed.boxes.tolist() == [[10, 34, 34, 52], [50, 4, 86, 44]]


@pytest.mark.parametrize("seed", range(25))
def test_boxes_and_masks_stay_on_their_pixels(seed: int) -> None:
    changed = _change(Augment(horizontal_flip=0.5, vertical_flip=0.5, crop=0.5), seed)
    assert changed.image.shape == (3, HEIGHT, WIDTH)
    assert changed.mask.shape == (HEIGHT, WIDTH)
    assert len(changed.boxes) == len(changed.kept)
    for box, i in zip(changed.boxes, changed.kept, strict=True):
        # Enlarged at most twice, so that a border is known to within a pixel.
        np.testing.assert_allclose(box, _extent(changed.image[i] > 127), atol=1.01)
        np.testing.assert_allclose(box, _extent(changed.mask == i + 1), atol=1.01)
    gone = set(range(2)) - set(changed.kept.tolist())
    assert all((changed.mask == i + 1).sum() <= 2 * HEIGHT for i in gone)


def test_crops_lose_some_boxes_and_keep_others() -> None:
    counts = {len(_change(Augment(crop=0.3), seed).kept) for seed in range(60)}
    assert counts == {0, 1, 2}


def test_light() -> None:
    image, _ = _scene()
    image[:] = 100
    values = []
    for seed in range(100):
        changed = augment_image(image, None, None, Augment(brightness=0.2), np.random.default_rng(seed))
        assert changed.boxes is None
        assert changed.mask is None
        values.append(int(changed.image[0, 0, 0]))
    assert 79 <= min(values) < 85
    assert 115 < max(values) <= 121
    image[:, ::2] = 140
    changed = augment_image(image, None, None, Augment(contrast=0.5), np.random.default_rng(1))
    assert changed.image.mean() == pytest.approx(120, abs=1)
    assert np.ptp(changed.image) != 40


def test_light_and_dark_are_exchanged_with_the_probability_asked_for() -> None:
    image, mask = _scene()
    changed = _change(Augment(invert=1.0), 0)
    assert (changed.image == 255 - image).all()
    assert changed.image.dtype == np.uint8
    assert (changed.mask == mask).all()
    assert (changed.boxes == BOXES).all()
    negatives = sum(bool(_change(Augment(invert=0.25), seed).image[0, 0, 0]) for seed in range(200))
    assert 30 <= negatives <= 70


def test_turning_one_change_on_leaves_the_others() -> None:
    for seed in range(10):
        plain = _change(Augment(horizontal_flip=0.5, vertical_flip=0.5), seed)
        lit = _change(Augment(horizontal_flip=0.5, vertical_flip=0.5, contrast=0.1), seed)
        assert (plain.boxes == lit.boxes).all()
        assert (plain.mask == lit.mask).all()
        negative = _change(Augment(horizontal_flip=0.5, vertical_flip=0.5, invert=1.0), seed)
        assert (negative.image == 255 - plain.image).all()


@pytest.mark.parametrize("seed", range(10))
def test_targets_without_pixels_are_those_of_the_image(seed: int) -> None:
    spec = Augment(horizontal_flip=0.5, vertical_flip=0.5, crop=0.5, contrast=0.3, invert=0.5)
    whole = _change(spec, seed)
    alone = augment_targets((HEIGHT, WIDTH), BOXES, _scene()[1], spec, np.random.default_rng(seed))
    assert (alone.mask == whole.mask).all()
    assert (alone.boxes == whole.boxes).all()
    assert (alone.kept == whole.kept).all()


def test_the_source_is_not_written_to() -> None:
    image, mask = _scene()
    boxes = BOXES.copy()
    for array in (image, mask, boxes):
        array.flags.writeable = False
    spec = Augment(horizontal_flip=1.0, vertical_flip=1.0, brightness=0.5, contrast=0.5, invert=1.0, crop=0.5)
    augment_image(image, boxes, mask, spec, np.random.default_rng(0))
