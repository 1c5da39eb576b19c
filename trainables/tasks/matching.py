"""Matches a detector's queries to the boxes of each image, all images of a batch in one go.

The costs and the assignment are those of transformers' `HungarianMatcher` (DETR, Carion 2020) and
`DeformableDetrHungarianMatcher`, to the bit. Theirs compares every query with the boxes of all images and
then takes a block for each image; here each box is compared with the queries of its own image alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

FOCAL_ALPHA, FOCAL_GAMMA = 0.25, 2.0
"""The focal cost of a match; transformers takes neither from a model's config."""


@dataclass(frozen=True)
class MatchCosts:
    """The weights of a match's cost.

    no_object: scores are a softmax with 'no object' last; otherwise a sigmoid for each class.
    """

    no_object: bool
    label: float
    distance: float
    overlap: float


@dataclass(frozen=True)
class Truth:
    """The boxes of a batch end to end, and a last one for queries without a box.

    boxes: (n + 1, 4) cxcywh.  labels: (n + 1,).  counts: the number of boxes of each image.
    """

    boxes: Tensor
    labels: Tensor
    counts: list[int]

    @classmethod
    def of(cls, targets: list[dict[str, Tensor]], *, nothing: int) -> Truth:
        """The boxes of these images, see `Batch.targets`. nothing: the label of a query without a box."""
        first = targets[0]
        return cls(
            torch.cat([*(target["boxes"] for target in targets), first["boxes"].new_full((1, 4), 0.5)]),
            torch.cat(
                [*(target["class_labels"] for target in targets), first["class_labels"].new_tensor([nothing])]
            ),
            [len(target["class_labels"]) for target in targets],
        )


@torch.no_grad()
def match(logits: Tensor, boxes: Tensor, truth: Truth, costs: MatchCosts) -> Tensor:
    """(images · queries,) int64: the box in `truth` of each query, n for a query without one.

    logits: (images, queries, classes).  boxes: (images, queries, 4) cxcywh.  An image's matches have the
    least sum of costs, and depend on nothing but the image. Costs that are not finite count as the largest.
    """
    from scipy.optimize import linear_sum_assignment

    images, queries = logits.shape[:2]
    found = np.full((images, queries), sum(truth.counts))
    if sum(truth.counts):
        owner = torch.from_numpy(np.repeat(np.arange(images), truth.counts)).to(logits.device)
        table = _costs(logits, boxes, truth, owner, costs).cpu().numpy()
        first = 0
        for image, count in enumerate(truth.counts):
            if count:
                # Queries are rows, as in transformers, which decides between equal sums.
                rows, columns = linear_sum_assignment(table[first : first + count].T)
                found[image, rows] = columns + first
                first += count
    return torch.from_numpy(found).flatten().to(logits.device)


def _costs(logits: Tensor, boxes: Tensor, truth: Truth, owner: Tensor, costs: MatchCosts) -> Tensor:
    """(n, queries) the cost of each box with each query of its image. owner: (n,) the image of a box."""
    near, wanted = boxes[owner], truth.boxes[:-1, None]
    distance = torch.cdist(near, wanted, p=1.0)[..., 0]
    label = _label_costs(logits, truth.labels[:-1], owner, no_object=costs.no_object)
    total = costs.distance * distance + costs.label * label - costs.overlap * giou(near, wanted)
    largest = torch.finfo(total.dtype).max
    return total.nan_to_num_(nan=largest, posinf=largest, neginf=largest)


def _label_costs(logits: Tensor, labels: Tensor, owner: Tensor, *, no_object: bool) -> Tensor:
    """(n, queries) by how much a query's score of the box's label lowers the cost."""
    if no_object:
        return -logits.softmax(-1)[owner, :, labels]
    score = logits.sigmoid()[owner, :, labels]
    wrong = (1 - FOCAL_ALPHA) * (score**FOCAL_GAMMA) * (-(1 - score + 1e-8).log())
    right = FOCAL_ALPHA * ((1 - score) ** FOCAL_GAMMA) * (-(score + 1e-8).log())
    return right - wrong


def giou(one: Tensor, other: Tensor) -> Tensor:
    """(…) the generalized IoU (Rezatofighi 2019) of boxes (…, 4) cxcywh, pair by pair; shapes broadcast."""
    low, high = _corners(one)
    low_, high_ = _corners(other)
    shared = _area((torch.minimum(high, high_) - torch.maximum(low, low_)).clamp(min=0))
    union = _area(high - low) + _area(high_ - low_) - shared
    hull = _area(torch.maximum(high, high_) - torch.minimum(low, low_))
    return shared / union - (hull - union) / hull


def _corners(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """(…, 2) twice: the corners with the smallest and the largest coordinates."""
    center, half = boxes[..., :2], 0.5 * boxes[..., 2:]
    return center - half, center + half


def _area(sides: Tensor) -> Tensor:
    width, height = sides.unbind(-1)
    return width * height
