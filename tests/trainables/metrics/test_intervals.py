"""Bootstrap intervals above the floor: against plain loops, exact chances, and no shared random state."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sample_scenes import CLASSES, box_scene, mask_scene

from trainables.metrics.above_floor import collapsed
from trainables.metrics.coco import Detections, coco_metrics
from trainables.metrics.floors import constant_soft_dice, mask_floors
from trainables.metrics.hits import HitRule, hits_by_image
from trainables.metrics.intervals import (
    LEAST,
    RESAMPLES,
    Found,
    Resampled,
    chance_of_a_class_without_hit,
    chance_of_nothing,
    drawn,
    interval,
    resampled_masks,
    resampled_soft_dice,
    robustness_interval,
)
from trainables.metrics.per_image import MaskImages
from trainables.metrics.results import BoxResults
from trainables.metrics.rules import MetricRules
from trainables.specs.tasks import COCO_METRICS
from trainables.specs.workload import MetricName
from trainables.tasks.losses import measure_images, soft_dice

RULES = MetricRules(background=CLASSES[0])


@pytest.mark.parametrize("name", ["dice", "iou", "dice_worst", "dice_with_background", "iou/cat"])
def test_every_resample_has_its_own_value_and_floor(name: str) -> None:
    counts = mask_scene(0, images=9)
    images = MaskImages(CLASSES, tuple("abcdefghi"), counts, RULES)
    found = resampled_masks(counts, name, CLASSES, RULES).values
    weights = np.concatenate(list(drawn(9)))
    assert weights.shape == (RESAMPLES, 9)
    assert (weights.sum(axis=1) == 9).all()
    for row in (0, 1, 500, 999):
        truth = np.repeat(counts[:, 1], weights[row], axis=0)
        expected = images.metric(name, weights[row]) - mask_floors(truth, CLASSES, RULES)[name]
        assert found[row] == pytest.approx(expected, abs=1e-12)
    low, high = interval([Resampled(found)]) or (0.0, 0.0)
    assert (low, high) == pytest.approx(tuple(np.quantile(found, [0.025, 0.975])))


def test_soft_dice_by_resample_is_that_of_the_drawn_images_in_groups() -> None:
    generator = torch.Generator().manual_seed(3)
    target = torch.randint(0, 3, (70, 4, 5), generator=generator)
    logits = torch.randn((70, 3, 4, 5), generator=generator)
    measures = measure_images(logits, target)
    soft = torch.stack([measures.overlap, measures.predicted, measures.true], dim=1).double().numpy()
    found = resampled_soft_dice(soft).values
    assert found.shape == (RESAMPLES,)
    whole = soft_dice(measures) - constant_soft_dice(soft[:, 2]).max()
    assert found.mean() == pytest.approx(whole, abs=0.02)
    same = np.repeat(soft[:1], 40, axis=0)  # every draw is the same image
    one = measures.take([0] * 40)
    expected = soft_dice(one) - constant_soft_dice(same[:, 2]).max()
    assert resampled_soft_dice(same).values == pytest.approx(np.full(RESAMPLES, expected), abs=1e-6)


def test_intervals_repeat_and_touch_no_random_state() -> None:
    counts = mask_scene(1, images=20)
    # The global state is what must not change.
    np.random.seed(5)
    before, torch_before = np.random.get_state()[1].copy(), torch.random.get_rng_state().clone()
    first = interval([resampled_masks(counts, "dice", CLASSES, RULES)])
    assert first == interval([resampled_masks(counts, "dice", CLASSES, RULES)])
    assert (np.random.get_state()[1] == before).all()
    assert torch.equal(torch.random.get_rng_state(), torch_before)


def test_the_constant_predictor_has_collapsed_and_a_real_one_has_not() -> None:
    counts = mask_scene(2, images=30)
    constant = counts.copy()
    constant[:, 0] = constant[:, 2] = 0
    constant[:, 0, 1], constant[:, 2, 1] = counts[:, 1, 1], counts[:, 1].sum(axis=1)
    assert collapsed(interval([resampled_masks(constant, "dice", CLASSES, RULES)])) is True
    assert collapsed(interval([resampled_masks(counts, "dice", CLASSES, RULES)])) is False


def test_one_image_alone_and_none() -> None:
    counts = mask_scene(2, images=1)
    low, high = interval([resampled_masks(counts, "dice", CLASSES, RULES)]) or (0.0, 0.0)
    assert low == high
    assert interval([]) is None
    assert list(drawn(0)) == []


def test_many_images_are_drawn_in_chunks() -> None:
    chunks = list(drawn(30_000))
    assert sum(len(chunk) for chunk in chunks) == RESAMPLES
    assert all((chunk.sum(axis=1, dtype=np.int64) == 30_000).all() for chunk in chunks)


@pytest.mark.parametrize(
    ("images", "hits", "expected"),
    [(10, 3, True), (10, 4, False), (100, 3, True), (100, 4, False), (1, 1, False), (5, 0, True)],
)
def test_ap_lies_above_0_unless_a_resample_may_miss_every_hit(images: int, hits: int, expected: bool) -> None:
    """(1 − h/n)^n against 2.5 %: 0.7^10 is 0.028, 0.6^10 is 0.006."""
    found = chance_of_nothing(np.arange(images) < hits)
    assert found.nothing == pytest.approx((1 - hits / images) ** images)
    assert collapsed(interval([found])) is expected


def test_several_domains_are_missed_together() -> None:
    assert interval([Found(0.1), Found(0.2)]) == (LEAST, 1.0)
    assert interval([Found(0.1), Found(0.3)]) == (0.0, 1.0)


def spread(low: float, high: float, seed: int = 0) -> Resampled:
    return Resampled(np.random.default_rng(seed).uniform(low, high, RESAMPLES))


def test_a_robustness_lies_above_0_only_with_the_metric_in_domain() -> None:
    """Its value is 0 where the model is not above the floor in domain, whatever it is in the others."""
    assert robustness_interval(spread(-0.3, -0.1), [spread(0.4, 0.6)]) == (0.0, 0.0)
    assert collapsed(robustness_interval(spread(-0.1, 0.9), [spread(0.4, 0.6)])) is True
    assert collapsed(robustness_interval(spread(0.1, 0.9), [spread(0.4, 0.6)])) is False
    assert collapsed(robustness_interval(spread(0.1, 0.9), [spread(-0.1, 0.6)])) is True
    assert robustness_interval(None, [spread(0.4, 0.6)]) == (0.0, 0.0), "no metric in domain: its value is 0"


def test_a_domain_below_its_floor_counts_0_and_not_less() -> None:
    """The value is the mean of shares of at least 0, so one lost domain does not outweigh another."""
    own, lost, kept = spread(0.8, 0.8), spread(-0.9, -0.9), spread(0.4, 0.4)
    assert robustness_interval(own, [lost, kept]) == pytest.approx((0.25, 0.25))
    assert robustness_interval(own, [None, kept]) == pytest.approx((0.25, 0.25)), "without the metric"
    assert robustness_interval(own, [lost, lost]) == (0.0, 0.0)
    assert robustness_interval(None, [None]) is None


def test_images_in_domain_are_resampled_independently_of_the_shifted_ones() -> None:
    """Against a plain loop over independent draws: each set alone misses 0 in 2 % of the resamples."""
    flags = np.ones(RESAMPLES)
    flags[:20] = -1.0
    same = Resampled(flags)
    assert collapsed(interval([same])) is False
    assert collapsed(robustness_interval(same, [same])) is True, "together 4 %"
    own, other = mask_scene(0, images=12), mask_scene(5, images=12)
    parts = [resampled_masks(counts, "dice", CLASSES, RULES) for counts in (own, other)]
    random = np.random.default_rng(1)
    shares = []
    for _ in range(4000):
        here, there = (max(0.0, random.choice(part.values)) for part in parts)
        shares.append(there / here if here else 0.0)
    expected = tuple(np.percentile(shares, [2.5, 97.5]))
    assert robustness_interval(parts[0], [parts[1]]) == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize(
    ("own", "shifted", "expected"),
    [
        (0.0, [0.0], False),
        (1.0, [0.0], True),
        (0.0, [1.0], True),
        (0.0, [1.0, 0.0], False),
        (0.02, [0.0], False),
        (0.02, [0.02], True),
        (0.0, [0.1, None], True),
        (None, [0.0], True),
    ],
)
def test_a_robustness_of_ap_needs_hits_in_domain_and_in_a_shifted_one(
    own: float | None, shifted: list[float | None], expected: bool
) -> None:
    here, *there = (None if chance is None else Found(chance) for chance in (own, *shifted))
    assert robustness_interval(here, there) == (0.0 if expected else LEAST, 1.0)


def test_the_worst_class_needs_a_hit_of_every_class() -> None:
    hits = np.ones((40, 2), bool)
    objects = hits.copy()
    assert chance_of_a_class_without_hit(hits, objects).nothing == 0.0
    hits[2:, 1] = False
    assert chance_of_a_class_without_hit(hits, objects).nothing == pytest.approx(0.95**2 * 0.14, abs=0.05)
    objects[:, 1] = hits[:, 1]
    assert chance_of_a_class_without_hit(hits, objects).nothing == 0.0, "a class that is not drawn"


@pytest.mark.parametrize("seed", range(4))
def test_an_image_has_a_hit_where_its_coco_metric_is_above_0(seed: int) -> None:
    """The reference of `hits_by_image`: each image alone, by each metric and class."""
    truths, found = box_scene(seed, images=25)
    seen = 0
    for base in COCO_METRICS:
        hits, objects = hits_by_image(truths, found, len(CLASSES), base)
        for image, (truth, detections) in enumerate(zip(truths, found, strict=True)):
            alone = coco_metrics([truth], [detections], CLASSES)
            for index, name in enumerate(CLASSES):
                assert objects[image, index] == (f"{base}/{name}" in alone)
                assert hits[image, index] == (alone.get(f"{base}/{name}", 0.0) > 0)
                seen += int(hits[image, index])
    assert seen > 100


def test_hit_rules() -> None:
    assert HitRule.of("map_75").overlap == 0.75
    assert HitRule.of("mar_10").limit == 10
    assert HitRule.of("map_small").sizes == HitRule.of("mar_small").sizes == (0.0, 1024.0)
    assert HitRule.of("map_50").sizes == HitRule.of("map_worst").sizes == (0.0, 1e10)


def test_results_of_boxes_by_metric() -> None:
    truths, found = box_scene(0, images=30)
    results = BoxResults(truths, found, CLASSES, tuple(str(i) for i in range(30)))
    for name in ("map", "map_worst", "map_50/cat", "mar_small"):
        assert isinstance(results.above_floor(MetricName.of(name)), Found)
    assert results.above_floor(MetricName.of("loss")) is None
    assert results.above_floor(MetricName.of("map/zebra")) is None
    nothing = Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int))
    silent = BoxResults(truths, [nothing] * 30, CLASSES, results.names)
    assert silent.above_floor(MetricName.of("map")) == Found(1.0)
