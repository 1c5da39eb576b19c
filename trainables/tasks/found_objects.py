"""The objects that a model finds in an image, with a mask each, and their masks in the image's pixels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from trainables.data.files.object_masks import encode
from trainables.metrics.coco import Detections

AT_ONCE = 2**24
"""The pixels of enlarged masks that are held at once."""


@dataclass(frozen=True)
class FoundObjects:
    """The best objects of an image, by decreasing score, at most LIMIT.

    scores, labels: (n,).  boxes: (n, 4) cxcywh as shares of the image.  masks: (n, h, w) logits of another
    size than the image.  nearest: whether it is decided at their own size what is in a mask, which is then
    resized by nearest pixels; otherwise logits are resized bilinearly.
    """

    scores: Tensor
    labels: Tensor
    boxes: Tensor
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


def detections_of(found: FoundObjects, size: tuple[int, int]) -> Detections:
    """The objects in an image of (height, width) `size`, in its pixels."""
    height, width = size
    boxes = found.boxes * found.boxes.new_tensor([width, height, width, height])
    boxes[:, :2] -= boxes[:, 2:] / 2
    codes = tuple(encode(mask) for mask in enlarged_masks(found, size))
    scores, labels = found.scores.cpu().numpy(), found.labels.cpu().numpy()
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


def boxes_around(masks: Tensor) -> Tensor:
    """(n, 4) cxcywh as shares of the image: the boxes around (n, h, w) bool masks; 0 without a pixel."""
    height, width = masks.shape[-2:]
    rows, columns = masks.any(-1), masks.any(-2)
    near = torch.stack([columns.float().argmax(-1), rows.float().argmax(-1)], dim=-1)
    last = torch.stack([columns.flip(-1).float().argmax(-1), rows.flip(-1).float().argmax(-1)], dim=-1)
    size = near.new_tensor([width, height])
    far = size - last
    corners = torch.cat([(near + far) / 2, (far - near).float()], dim=-1) / size.repeat(2)
    return corners * rows.any(-1)[:, None]
