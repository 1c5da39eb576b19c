"""The matcher against transformers' own, also where costs are equal."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from transformers.image_transforms import center_to_corners_format
from transformers.loss.loss_deformable_detr import DeformableDetrHungarianMatcher
from transformers.loss.loss_for_object_detection import HungarianMatcher, generalized_box_iou

from trainables.tasks.matching import MatchCosts, Truth, giou, match

Target = dict[str, Tensor]
QUERIES, CLASSES = 6, 4
FAMILIES = pytest.mark.parametrize("no_object", [True, False], ids=["softmax", "focal"])


def outputs(images: int, *, no_object: bool, steps: int, seed: int) -> tuple[Tensor, Tensor]:
    """Logits and boxes. steps: values are multiples of 1 / steps, so that few steps give equal costs."""
    random = torch.Generator().manual_seed(seed)
    logits = torch.randint(-steps, steps, (images, QUERIES, CLASSES + no_object), generator=random) / steps
    boxes = torch.randint(1, steps, (images, QUERIES, 4), generator=random) / steps
    return logits, boxes


def truths(counts: list[int], *, steps: int, seed: int) -> list[Target]:
    random = torch.Generator().manual_seed(seed)
    return [
        {
            "class_labels": torch.randint(0, CLASSES, (count,), generator=random),
            "boxes": torch.randint(1, steps, (count, 4), generator=random) / steps,
        }
        for count in counts
    ]


def expected(logits: Tensor, boxes: Tensor, targets: list[Target], *, no_object: bool) -> Tensor:
    """The box of each query by transformers' matcher."""
    kind = HungarianMatcher if no_object else DeformableDetrHungarianMatcher
    found = kind(class_cost=1, bbox_cost=5, giou_cost=2)({"logits": logits, "pred_boxes": boxes}, targets)
    box = torch.full((len(targets), QUERIES), sum(len(t["boxes"]) for t in targets))
    first = 0
    for image, (rows, columns) in enumerate(found):
        box[image, rows] = columns + first
        first += len(targets[image]["boxes"])
    return box.flatten()


@FAMILIES
@pytest.mark.parametrize("steps", [3, 1000])
@pytest.mark.parametrize(
    "counts", [[0, 0, 0], [1, 2, 0], [3, 0, 1], [QUERIES, 1, QUERIES], [QUERIES + 3, 2, 0], [0, 4, 4]]
)
def test_every_query_gets_the_box_that_transformers_gives_it(
    counts: list[int], steps: int, no_object: bool
) -> None:
    for seed in range(20):
        logits, boxes = outputs(len(counts), no_object=no_object, steps=steps, seed=seed)
        targets = truths(counts, steps=steps, seed=seed + 100)
        found = match(logits, boxes, Truth.of(targets, nothing=CLASSES), MatchCosts(no_object, 1, 5, 2))
        assert torch.equal(found, expected(logits, boxes, targets, no_object=no_object))


def test_costs_that_are_not_finite_are_taken_last() -> None:
    logits, boxes = outputs(1, no_object=True, steps=1000, seed=0)
    logits[0, 2], boxes[0, 4] = torch.nan, torch.inf
    found = match(
        logits, boxes, Truth.of(truths([3], steps=1000, seed=1), nothing=CLASSES), MatchCosts(True, 1, 5, 2)
    )
    assert {int(query) for query in torch.nonzero(found < 3)}.isdisjoint({2, 4})
    assert int((found < 3).sum()) == 3


def test_the_last_box_of_the_truth_is_no_box() -> None:
    truth = Truth.of(truths([2, 0, 1], steps=1000, seed=2), nothing=7)
    assert truth.counts == [2, 0, 1]
    assert truth.boxes.shape == (4, 4)
    assert truth.labels[-1] == 7


def test_the_generalized_iou_is_transformers_own_to_the_bit() -> None:
    _, one = outputs(5, no_object=True, steps=1000, seed=3)
    _, other = outputs(3, no_object=True, steps=1000, seed=4)
    one, other = one.flatten(0, 1), other.flatten(0, 1)
    theirs = generalized_box_iou(center_to_corners_format(one), center_to_corners_format(other))
    assert torch.equal(giou(one[:, None], other), theirs)
