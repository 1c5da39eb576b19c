"""The loss of several trials at once against transformers' loss of each trial alone."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.loss.loss_deformable_detr import DeformableDetrForObjectDetectionLoss
from transformers.loss.loss_for_object_detection import ForObjectDetectionLoss, HungarianMatcher, ImageLoss

from trainables.tasks.detection_loss import LOSS_GROUP, GroupedLoss, LossSettings, matched_losses

Target = dict[str, Tensor]
QUERIES, CLASSES = 9, 5
CONFIG: dict[str, Any] = {
    "class_cost": 1.5, "bbox_cost": 4, "giou_cost": 2.5, "bbox_loss_coefficient": 3,
    "giou_loss_coefficient": 1.25, "eos_coefficient": 0.15, "focal_alpha": 0.3,
    "auxiliary_loss": False, "num_labels": CLASSES,
}  # fmt: skip
COUNTS = [[0, 3, 1, 2], [0, 0, 0, 0], [1, 0, 0, 0], [4, 4, 2, 9], [12, 1, 0, 3]]
"""The boxes of the images of each lane: none at all, as many as queries, and more."""
FAMILIES = pytest.mark.parametrize("no_object", [True, False], ids=["softmax", "focal"])


def reference(
    logits: Tensor, boxes: Tensor, targets: list[Target], *, no_object: bool, **changes: Any
) -> Tensor:
    """transformers' own loss."""
    function = ForObjectDetectionLoss if no_object else DeformableDetrForObjectDetectionLoss
    loss: Tensor = function(logits, targets, logits.device, boxes, SimpleNamespace(**(CONFIG | changes)))[0]
    return loss


def settings(*, no_object: bool, **changes: Any) -> LossSettings:
    return LossSettings.of(SimpleNamespace(**(CONFIG | changes)), no_object=no_object)


def lane(counts: list[int], *, no_object: bool, seed: int) -> tuple[Tensor, Tensor, list[Target]]:
    """Random outputs for the images of a lane, and targets with these numbers of boxes."""
    random = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(len(counts), QUERIES, CLASSES + no_object, generator=random)
    boxes = torch.rand(len(counts), QUERIES, 4, generator=random) * 0.6 + 0.05
    targets = [
        {
            "class_labels": torch.randint(0, CLASSES, (count,), generator=random),
            "boxes": torch.rand(count, 4, generator=random) * 0.5 + 0.1,
        }
        for count in counts
    ]
    return logits, boxes, targets


def joined(lanes: list[tuple[Tensor, Tensor, list[Target]]]) -> tuple[Tensor, Tensor, list[Target]]:
    return (
        torch.cat([logits for logits, _, _ in lanes]).requires_grad_(),
        torch.cat([boxes for _, boxes, _ in lanes]).requires_grad_(),
        [target for _, _, targets in lanes for target in targets],
    )


@FAMILIES
def test_each_lane_has_the_loss_and_the_gradients_that_transformers_gives_it_alone(no_object: bool) -> None:
    lanes = [lane(counts, no_object=no_object, seed=seed) for seed, counts in enumerate(COUNTS)]
    logits, boxes, targets = joined(lanes)
    losses = matched_losses(logits, boxes, targets, lanes=len(lanes), settings=settings(no_object=no_object))
    assert losses.shape == (len(lanes),)
    losses.sum().backward()
    for number, (alone, places, own) in enumerate(lanes):
        alone, places = alone.clone().requires_grad_(), places.clone().requires_grad_()
        expected = reference(alone, places, own, no_object=no_object)
        assert losses[number].item() == pytest.approx(expected.item(), rel=1e-6)
        expected.backward()
        part = slice(number * len(own), (number + 1) * len(own))
        for ours, theirs in ((logits.grad, alone.grad), (boxes.grad, places.grad)):
            theirs = torch.zeros_like(ours[part]) if theirs is None else theirs  # type: ignore[index]
            torch.testing.assert_close(ours[part], theirs, rtol=1e-6, atol=1e-6)  # type: ignore[index]


@FAMILIES
def test_partners_change_nothing_in_a_lane_to_the_bit(no_object: bool) -> None:
    own = lane([2, 0, 1, 3], no_object=no_object, seed=0)
    found = []
    for seed, counts in ((1, [0, 0, 0, 0]), (2, [5, 9, 1, 14])):
        partners = [lane(counts, no_object=no_object, seed=seed + 10 * place) for place in range(2)]
        logits, boxes, targets = joined([partners[0], own, partners[1]])
        losses = matched_losses(logits, boxes, targets, lanes=3, settings=settings(no_object=no_object))
        gradients = torch.autograd.grad(losses.sum(), (logits, boxes))
        found.append([losses[1], *(gradient[4:8] for gradient in gradients)])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


@FAMILIES
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("which", ["logits", "boxes"])
def test_an_output_that_is_not_finite_spoils_its_own_lane_only(
    no_object: bool, value: float, which: str
) -> None:
    lanes = [lane([1, 2], no_object=no_object, seed=seed) for seed in range(2)]
    whole = matched_losses(*joined(lanes), lanes=2, settings=settings(no_object=no_object))
    spoiled = {"logits": lanes[1][0], "boxes": lanes[1][1]}[which]
    spoiled[1, QUERIES - 1, 0] = value
    logits, boxes, targets = joined(lanes)
    losses = matched_losses(logits, boxes, targets, lanes=2, settings=settings(no_object=no_object))
    losses.sum().backward()
    assert torch.equal(losses[0], whole[0])
    assert losses[1].isnan()
    for gradient in (logits.grad, boxes.grad):
        assert gradient is not None
        assert gradient[:2].isfinite().all()
        assert gradient[2:].isnan().all()


def test_a_negative_alpha_weighs_nothing() -> None:
    logits, boxes, targets = lane([1, 2, 0], no_object=False, seed=3)
    expected = reference(logits, boxes, targets, no_object=False, focal_alpha=-1)
    (loss,) = matched_losses(
        logits, boxes, targets, lanes=1, settings=settings(no_object=False, focal_alpha=-1)
    )
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)


def test_half_precision_outputs_have_a_loss_in_float32() -> None:
    logits, boxes, targets = lane([1, 2, 0], no_object=True, seed=4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (loss,) = matched_losses(
            logits.bfloat16(), boxes.bfloat16(), targets, lanes=1, settings=settings(no_object=True)
        )
    exact = reference(logits.bfloat16().float(), boxes.bfloat16().float(), targets, no_object=True)
    assert loss.dtype is torch.float32
    assert loss.item() == pytest.approx(exact.item(), rel=1e-6)


@pytest.mark.parametrize("lanes", [3, 5])
def test_lanes_that_do_not_divide_the_images_are_refused(lanes: int) -> None:
    logits, boxes, targets = lane([1, 2, 0, 1], no_object=True, seed=5)
    with pytest.raises(ValueError, match=f"{lanes} lanes of equal size"):
        matched_losses(logits, boxes, targets, lanes=lanes, settings=settings(no_object=True))


def test_targets_must_be_those_of_the_images() -> None:
    logits, boxes, targets = lane([1, 2], no_object=True, seed=6)
    with pytest.raises(ValueError, match="outputs of 2 images and targets of 1"):
        matched_losses(logits, boxes, targets[:1], lanes=1, settings=settings(no_object=True))


@pytest.mark.parametrize("images", [3, LOSS_GROUP, 83])
def test_the_grouped_loss_is_the_mean_over_groups_of_one_size(images: int) -> None:
    counts = [number % 4 for number in range(images)]
    logits, boxes, targets = lane(counts, no_object=True, seed=7)
    grouped = GroupedLoss(settings(no_object=True))
    for row in zip(logits, boxes, targets, strict=True):
        grouped.add(*row)
    total = 0.0
    for start in range(0, images, LOSS_GROUP):
        part = slice(start, start + LOSS_GROUP)
        loss = reference(logits[part], boxes[part], targets[part], no_object=True)
        total += loss.item() * len(targets[part])
    assert grouped.mean() == pytest.approx(total / images, rel=1e-6)


WEIGHTS = torch.tensor([1.0, 4.0, 0.25, 2.0, 7.0])


@FAMILIES
def test_weights_of_one_are_none_to_the_bit(no_object: bool) -> None:
    logits, boxes, targets = joined([lane(counts, no_object=no_object, seed=3) for counts in COUNTS])
    given = {"lanes": len(COUNTS), "settings": settings(no_object=no_object)}
    plain = matched_losses(logits, boxes, targets, **given)
    assert torch.equal(matched_losses(logits, boxes, targets, **given, weights=torch.ones(CLASSES)), plain)


@pytest.mark.parametrize("counts", COUNTS)
def test_a_weighted_cross_entropy_is_that_of_transformers_with_these_weights(counts: list[int]) -> None:
    logits, boxes, targets = joined([lane(counts, no_object=True, seed=4)])
    matcher = HungarianMatcher(
        class_cost=CONFIG["class_cost"], bbox_cost=CONFIG["bbox_cost"], giou_cost=CONFIG["giou_cost"]
    )
    criterion = ImageLoss(matcher, CLASSES, CONFIG["eos_coefficient"], ["labels", "boxes"])
    criterion.empty_weight[:CLASSES] = WEIGHTS
    found = criterion({"logits": logits, "pred_boxes": boxes}, targets)
    expected = found["loss_ce"] + CONFIG["bbox_loss_coefficient"] * found["loss_bbox"]
    expected = expected + CONFIG["giou_loss_coefficient"] * found["loss_giou"]
    (value,) = matched_losses(
        logits, boxes, targets, lanes=1, settings=settings(no_object=True), weights=WEIGHTS
    )
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-6)
    for one, other in zip(
        torch.autograd.grad(value, [logits, boxes], retain_graph=True),
        torch.autograd.grad(expected, [logits, boxes]),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-7)


def test_a_weight_in_a_focal_loss_multiplies_the_queries_that_are_matched_with_its_class() -> None:
    logits, boxes, targets = joined([lane([2, 1], no_object=False, seed=5)])
    targets[0]["class_labels"] = torch.tensor([1, 2])
    targets[1]["class_labels"] = torch.tensor([1])
    given = {"lanes": 1, "settings": settings(no_object=False)}

    def gradient(weights: Tensor | None) -> Tensor:
        (value,) = matched_losses(logits, boxes, targets, **given, weights=weights)
        (found,) = torch.autograd.grad(value, logits)
        return found.flatten(0, 1)

    plain, weighted = gradient(None), gradient(WEIGHTS)
    ratio = (weighted / plain).mean(1)
    torch.testing.assert_close(weighted, plain * ratio[:, None])  # all classes of a query alike
    assert sorted(ratio.round(decimals=4).tolist(), reverse=True)[:2] == [4.0, 4.0]
    assert min(ratio.tolist()) == pytest.approx(0.25)
    assert sum(abs(r - 1) < 1e-5 for r in ratio.tolist()) == 2 * QUERIES - 3


@FAMILIES
def test_a_lanes_weighted_loss_does_not_depend_on_the_others(no_object: bool) -> None:
    lanes = [lane(counts, no_object=no_object, seed=seed) for seed, counts in enumerate(COUNTS)]
    logits, boxes, targets = joined(lanes)
    given = {"settings": settings(no_object=no_object), "weights": WEIGHTS}
    together = matched_losses(logits, boxes, targets, lanes=len(lanes), **given)
    alone = [matched_losses(*own, lanes=1, **given)[0] for own in lanes]
    assert torch.equal(together, torch.stack(alone))


@FAMILIES
def test_the_evaluation_loss_has_the_same_weights(no_object: bool) -> None:
    logits, boxes, targets = lane([0, 3, 1, 2], no_object=no_object, seed=6)
    grouped = GroupedLoss(settings(no_object=no_object), WEIGHTS)
    for row in zip(logits, boxes, targets, strict=True):
        grouped.add(*row)
    (expected,) = matched_losses(
        logits, boxes, targets, lanes=1, settings=settings(no_object=no_object), weights=WEIGHTS
    )
    assert grouped.mean() == pytest.approx(float(expected))
