"""The IoU of boxes and masks under the COCO protocol."""

from __future__ import annotations

import numpy as np

from trainables.metrics.coco import Array, CocoTruth, Detections, of_truth, run_lengths


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


def overlaps_of(
    found: Detections,
    truth: CocoTruth,
    crowds: Array,
    *,
    some: Array | None = None,
    only: Array | None = None,
) -> Array:
    """(n, m) IoU of detections and objects: of their masks if detections have them, otherwise of boxes.

    some: which detections, indices.  only: which objects, (…,) bool.  crowds: (m,) bool of these objects.
    """
    rows = np.arange(len(found.scores)) if some is None else some
    columns = np.arange(len(truth.labels)) if only is None else np.flatnonzero(only)
    if found.masks is None:
        return overlaps(found.boxes[rows], truth.boxes[columns], crowds)
    if not len(rows) or not len(columns):
        return np.zeros((len(rows), len(columns)))
    from hotcoco import mask as coco_mask

    masks, size = of_truth(truth)
    one = run_lengths((found.masks[i] for i in rows.tolist()), found.size)
    other = run_lengths((masks[i] for i in columns.tolist()), size)
    return np.asarray(coco_mask.iou(one, other, crowds.astype(bool).tolist()), np.float64)
