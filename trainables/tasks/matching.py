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
    """The boxes of a batch end to end. boxes: (n, 4) cxcywh.  labels: (n,).  counts: by image."""

    boxes: Tensor
    labels: Tensor
    counts: list[int]

    @classmethod
    def of(cls, targets: list[dict[str, Tensor]]) -> Truth:
        """The boxes of these images, see `Batch.targets`."""
        return cls(
            torch.cat([target["boxes"] for target in targets]),
            torch.cat([target["class_labels"] for target in targets]),
            [len(target["class_labels"]) for target in targets],
        )


@torch.no_grad()
def match(logits: Tensor, boxes: Tensor, truth: Truth, costs: MatchCosts) -> tuple[Tensor, Tensor]:
    """(m,) int64 each: the matched queries, counted through all images, and the box of `truth` of each.

    logits: (images, queries, classes).  boxes: (images, queries, 4) cxcywh.  An image's matches have the
    least sum of costs, and depend on nothing but the image. Costs that are not finite count as the largest.
    """
    from scipy.optimize import linear_sum_assignment

    images, queries = logits.shape[:2]
    if not sum(truth.counts):
        none = torch.zeros(0, dtype=torch.int64, device=logits.device)
        return none, none
    owner = np.repeat(np.arange(images), truth.counts)
    table = _costs(logits, boxes, truth, torch.from_numpy(owner).to(logits.device), costs).cpu().numpy()
    found = np.empty((2, len(owner)), np.int64)
    first = filled = 0
    for image, count in enumerate(truth.counts):
        if not count:
            continue
        # Queries are rows: equal sums are decided as in transformers.
        rows, columns = linear_sum_assignment(table[first : first + count].T)
        end = filled + len(rows)
        found[0, filled:end] = rows + image * queries
        found[1, filled:end] = columns + first
        first, filled = first + count, end
    query, box = torch.from_numpy(found[:, :filled]).to(logits.device)
    return query, box


def _costs(logits: Tensor, boxes: Tensor, truth: Truth, owner: Tensor, costs: MatchCosts) -> Tensor:
    """(n, queries) the cost of each box with each query of its image. owner: (n,) the image of a box."""
    near = boxes[owner]
    distance = torch.cdist(near, truth.boxes[:, None], p=1.0)[..., 0]
    overlap = giou(near.unbind(-1), truth.boxes[:, None].unbind(-1))
    label = _label_costs(logits, truth.labels, owner, no_object=costs.no_object)
    total = costs.distance * distance + costs.label * label - costs.overlap * overlap
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


Sides = tuple[Tensor, ...]
"""Center x and y, width and height, each a tensor of any shape."""


def giou(one: Sides, other: Sides) -> Tensor:
    """The generalized IoU (Rezatofighi 2019) of boxes, pair by pair; the shapes must broadcast."""
    left, top, right, bottom = _corners(one)
    left_, top_, right_, bottom_ = _corners(other)
    width = (torch.minimum(right, right_) - torch.maximum(left, left_)).clamp(min=0)
    height = (torch.minimum(bottom, bottom_) - torch.maximum(top, top_)).clamp(min=0)
    shared = width * height
    union = (right - left) * (bottom - top) + (right_ - left_) * (bottom_ - top_) - shared
    hull = (torch.maximum(right, right_) - torch.minimum(left, left_)) * (
        torch.maximum(bottom, bottom_) - torch.minimum(top, top_)
    )
    return shared / union - (hull - union) / hull


def _corners(sides: Sides) -> Sides:
    x, y, width, height = sides
    return x - 0.5 * width, y - 0.5 * height, x + 0.5 * width, y + 0.5 * height
