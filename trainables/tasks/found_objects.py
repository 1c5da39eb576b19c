"""The objects that a model finds in an image, with a mask each, and their masks in the image's pixels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from trainables.data.files.object_masks import boxes_around, encode
from trainables.metrics.coco import LIMIT, Detections

AT_ONCE = 2**24
"""The pixels of enlarged masks that are held at once."""


@dataclass(frozen=True)
class FoundObjects:
    """The best objects of an image, by decreasing score, at most LIMIT.

    scores, labels: (n,).  boxes: (n, 4) cxcywh as shares of the image; None for those around the masks.
    masks: (n, h, w) logits of another size than the image.  nearest: whether it is decided at their own size
    what is in a mask, which is then resized by nearest pixels; otherwise logits are resized bilinearly.
    """

    scores: Tensor
    labels: Tensor
    boxes: Tensor | None
    masks: Tensor
    nearest: bool = False


class FindsObjects(Protocol):
    """A task whose models find objects with masks."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The data's classes."""
        ...

    def objects(self, outputs: Tensor, size: tuple[int, int]) -> list[FoundObjects]:
        """The objects in a task's `outputs`. size: (height, width) of the images as the model sees them."""
        ...


def detections_of(found: FoundObjects, size: tuple[int, int], *, most: int = LIMIT) -> Detections:
    """The first `most` objects in an image of (height, width) `size`, in its pixels."""
    codes = tuple(encode(mask) for mask in islice(enlarged_masks(found, size), most))
    scores, labels = (values[:most].cpu().numpy() for values in (found.scores, found.labels))
    if found.boxes is None:
        return Detections(boxes_around(codes, size), scores, labels, codes, size)
    boxes = found.boxes[:most] * found.boxes.new_tensor([size[1], size[0]] * 2)
    boxes[:, :2] -= boxes[:, 2:] / 2
    return Detections(boxes.cpu().numpy(), scores, labels, codes, size)


def enlarged_masks(
    found: FoundObjects, size: tuple[int, int]
) -> Iterator[np.ndarray[Any, np.dtype[np.bool_]]]:
    """(height, width) bool masks of `size`: where logits are above 0."""
    for some in torch.split(found.masks, max(1, AT_ONCE // (size[0] * size[1]))):
        with torch.autocast(some.device.type, enabled=False):
            if found.nearest:
                inside = (some > 0).float()[:, None]
                large = functional.interpolate(inside, size=size, mode="nearest")[:, 0]
            else:
                large = functional.interpolate(some.float()[:, None], size=size, mode="bilinear")[:, 0]
        yield from (large > 0).cpu().numpy()
