"""The IoU of boxes under the COCO protocol."""

from __future__ import annotations

import numpy as np

from trainables.metrics.coco import Array


def overlaps(boxes: Array, truth: Array, crowds: Array) -> Array:
    """(n, m) IoU; for a crowd the share of the detection that lies inside, as in COCO.

    boxes: (n, 4) xywh of detections.  truth: (m, 4) xywh of objects.  crowds: (m,) bool.
    """
    one, other = boxes.astype(np.float64)[:, None], truth.astype(np.float64)[None]
    near = np.maximum(one[..., :2], other[..., :2])
    far = np.minimum(one[..., :2] + one[..., 2:], other[..., :2] + other[..., 2:])
    shared = np.maximum(far - near, 0.0).prod(axis=-1)
    own = one[..., 2:].prod(axis=-1)
    whole = np.where(crowds[None], own, own + other[..., 2:].prod(axis=-1) - shared)
    ratio: Array = np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0)
    return ratio
