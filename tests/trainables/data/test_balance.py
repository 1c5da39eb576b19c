from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from data_makers import box, coco_folder, mask_folder, prepared
from PIL import Image

from trainables.data.balance import class_presence, draw_images, drawn_order, repeat_factors
from trainables.data.loader import Batches, train_batches
from trainables.data.prepared import PreparedSplit
from trainables.specs.data import Split
from trainables.specs.trial import Augment, Balance, SamplingSpec
from trainables.specs.workload import Task

BY_CLASS = SamplingSpec(balance=Balance.CLASS)
ALL = {"train": 0.8, "validation": 0.2, "test": 0}


@pytest.fixture
def split(tmp_path: Path) -> PreparedSplit:
    """40 images with a cat; each tenth also has a dog, and one of five has nothing."""
    cats = [box(i, [4, 5, 12, 10]) for i in range(50) if i % 5]
    dogs = [box(i, [20, 8, 16, 24], category=7) for i in range(50) if i % 10 == 3]
    part = coco_folder(tmp_path, 50, annotations=cats + dogs)
    return prepared(Task.DETECTION, {"coco": {"train": part}, "splits": ALL}).splits[Split.TRAIN]


def batches(split: PreparedSplit, epoch: int, sampling: SamplingSpec, seed: int = 0) -> Batches:
    return train_batches(split, epoch=epoch, seed=seed, batch_size=8, augment=Augment(), sampling=sampling)


def drawn(split: PreparedSplit, epoch: int, sampling: SamplingSpec = BY_CLASS, seed: int = 0) -> list[int]:
    return [i for batch in batches(split, epoch, sampling, seed) for i in batch.indices]


def test_factors_are_those_of_lvis() -> None:
    presence = np.array([[1, 0, 0], [1, 1, 0], [1, 0, 0], [1, 0, 0], [0, 0, 0]], bool)
    shares = presence.mean(axis=0)
    root = float(np.sqrt(shares[0] / shares[1]))
    assert repeat_factors(presence, 0.5).tolist() == [1, root, 1, 1, 1]
    assert repeat_factors(presence, 1.0).tolist() == [1, 4, 1, 1, 1]
    assert repeat_factors(np.zeros((3, 2), bool), 0.5).tolist() == [1, 1, 1]
    assert repeat_factors(np.zeros((3, 0), bool), 0.5).tolist() == [1, 1, 1]


@pytest.mark.parametrize("count", [1, 2, 7, 1000])
def test_equal_factors_draw_each_image_once(count: int) -> None:
    for seed in range(20):
        order = draw_images(np.full(count, 3.7), np.random.default_rng(seed))
        assert sorted(order.tolist()) == list(range(count))


def test_each_image_is_drawn_as_often_as_its_factor_asks_up_to_rounding() -> None:
    factors = np.random.default_rng(1).uniform(1, 9, 300)
    expected = 300 * factors / factors.sum()
    total = np.zeros(300)
    for seed in range(400):
        counts = np.bincount(draw_images(factors, np.random.default_rng(seed)), minlength=300)
        assert counts.sum() == 300
        assert (np.abs(counts - expected) < 1).all()
        total += counts
    assert np.abs(total / 400 - expected).max() < 0.15


def test_rare_classes_come_more_often_and_an_epoch_is_as_long(split: PreparedSplit) -> None:
    presence = class_presence(split)
    rare = set(np.flatnonzero(presence[:, 1]).tolist())
    assert 0 < len(rare) < 6
    factor = repeat_factors(presence, 0.5).max()
    often = [sum(i in rare for i in drawn(split, epoch)) for epoch in range(40)]
    assert len(drawn(split, 0)) == len(split)
    expected = len(split) * len(rare) * factor / repeat_factors(presence, 0.5).sum()
    assert np.mean(often) == pytest.approx(expected, rel=0.05)
    assert expected > 1.8 * len(rare)


def test_all_images_are_seen_over_some_epochs(split: PreparedSplit) -> None:
    assert {i for epoch in range(20) for i in drawn(split, epoch)} == set(range(len(split)))


def test_an_epoch_is_a_function_of_seed_epoch_and_sampling(split: PreparedSplit) -> None:
    one = drawn(split, 3)
    again = PreparedSplit(split.path, split.task)
    for epoch in range(9):  # pushes epoch 3 out of what is held
        drawn(split, epoch)
    assert drawn(split, 3) == drawn(again, 3) == one
    assert drawn(split, 4) != one
    assert drawn(split, 3, seed=1) != one
    assert drawn(split, 3, SamplingSpec(balance=Balance.CLASS, power=1.0)) != one
    # Batches may be asked for in any order, as after a resume.
    assert batches(split, 3, BY_CLASS)[2].indices == one[16:24]


def test_without_balance_the_order_is_that_of_before(split: PreparedSplit) -> None:
    plain = [i for b in Batches(split, 8, epoch=2, seed=5) for i in b.indices]
    assert plain == np.random.default_rng([5, 2, 0]).permutation(len(split)).tolist()
    assert drawn(split, 2, SamplingSpec(), seed=5) == plain
    # `power` alone draws nothing.
    assert drawn(split, 2, SamplingSpec(power=1.0), seed=5) == plain


def test_validation_is_never_drawn(split: PreparedSplit) -> None:
    assert Batches(split, 8, sampling=BY_CLASS).indices(0) == list(range(8))


def test_crowds_are_not_shown_to_a_model(tmp_path: Path) -> None:
    boxes = [box(i, [4, 5, 12, 10]) for i in range(10)]
    boxes += [box(i, [20, 8, 16, 24], category=7, iscrowd=1) for i in range(10)]
    part = coco_folder(tmp_path, 10, annotations=boxes)
    split = prepared(Task.DETECTION, {"coco": {"train": part}, "splits": ALL}).splits[Split.TRAIN]
    assert class_presence(split).sum(axis=0).tolist() == [8]


def test_classes_of_masks_are_those_of_their_pixels(tmp_path: Path) -> None:
    part = mask_folder(tmp_path, 10, side=40)
    for i in range(10):
        mask = np.zeros((40, 40), np.uint8)
        mask[:20] = 1 if i else 2
        mask[30:] = 255
        Image.fromarray(mask).save(tmp_path / "masks" / f"cell_{i:03d}.png")
    data = {"masks": {"train": part, "classes": ["background", "cell", "rare"], "ignore": 255}, "splits": ALL}
    split = prepared(Task.SEGMENTATION, data).splits[Split.TRAIN]
    presence = class_presence(split)
    rare = [name == "cell_000.jpg" for name in split.names]
    assert presence[:, 0].all()
    assert presence[:, 2].tolist() == rare
    assert presence[:, 3:].sum() == 0
    assert len(drawn_order(split, BY_CLASS, seed=0, epoch=0)) == len(split)
