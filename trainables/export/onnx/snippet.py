"""The program in an ONNX folder's card: it reads the file with onnxruntime, and needs numpy besides.

Each kind of output has one `find`, with the arithmetic of the family's processor in numpy.
"""

from __future__ import annotations

from typing import Any

from trainables.inference.trained_model import TrainedModel
from trainables.metrics.coco import LIMIT
from trainables.tasks.detection import DetectionTask
from trainables.tasks.instance_segmentation import InstanceTask
from trainables.tasks.labelled_model import LabelledModel
from trainables.tasks.segmenters.instances import BETWEEN, QueryTask

_HEAD = """\
import numpy as np
import onnxruntime

LABELS = {labels}
MEAN, STD, FACTOR = np.float32({mean}), np.float32({std}), np.float32({factor!r})
session = onnxruntime.InferenceSession("{file}", providers=onnxruntime.get_available_providers())


def run(image):
    pixels = (image.astype(np.float32) * FACTOR - MEAN) / STD
    return session.run({outputs}, {{"{name}": pixels.transpose(2, 0, 1)[None]}})
"""
_SEGMENTS = """\
def find(image):
    (scores,) = run(image)  # (1, {count}, H, W)
    return scores[0].argmax(0)  # (H, W): of each pixel, a key of LABELS
"""
_NO_OBJECT = """\
    logits = logits[0] - logits[0].max(-1, keepdims=True)
    scores = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)  # the last one is "no object"
    scores = scores[:, list(LABELS)]
    queries, labels = np.arange(len(scores)), scores.argmax(-1)
"""
_SIGMOID = """\
    scores = 1 / (1 + np.exp(-logits[0][:, list(LABELS)]))
    order = np.argsort(-scores, axis=None, kind="stable")[:{most}]
    queries, labels = np.divmod(order, len(LABELS))
"""
_ENLARGE = """\
def enlarged(mask, size):  # bilinearly, to (height, width) size
    rows, columns = (weights(*pair) for pair in zip(mask.shape, size))
    return rows @ mask @ columns.T


def weights(before, after):
    at = np.clip((np.arange(after) + 0.5) * before / after - 0.5, 0, before - 1)
    return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(before)))


"""
_BOXES = """\
def find(image, size, threshold={threshold:.4g}):  # size: (height, width) of the photo
    logits, boxes{masks} = run(image)
{chosen}
    found = []
    for query, label in zip(queries, labels):
        x, y, width, height = boxes[0, query]  # of the centre, as shares of the image
        box = np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2])
        box = np.clip(box, 0, 1) * [size[1], size[0], size[1], size[0]]  # x0, y0, x1, y1 in pixels
        name, score = list(LABELS.values())[label], float(scores[query, label])
        if score >= threshold:
            found.append((name, score, box{mask}))
    return sorted(found, key=lambda each: -each[1])
"""
_QUERY_MASKS = """\
def find(image, size, threshold={threshold:.4g}):  # size: (height, width) of the photo
    logits, masks = run(image)
    logits = logits[0] - logits[0].max(-1, keepdims=True)
    scores = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)  # the last one is "no object"
    scores = scores[:, list(LABELS)]
    order = np.argsort(-scores, axis=None, kind="stable")[: len(scores)]
    near = np.ix_(*(np.arange(side) * {side} // side for side in size))
    found = []
    for query, label in zip(*np.unravel_index(order, scores.shape)):
        mask = enlarged(masks[0, query], ({side}, {side}))  # where the processor decides what is in it
        inside = 1 / (1 + np.exp(-mask[mask > 0]))
        score = float(scores[query, label] * inside.sum() / (inside.size + 1e-6))
        if score >= threshold:
            found.append((list(LABELS.values())[label], score, (mask > 0)[near]))
    return sorted(found, key=lambda each: -each[1])[:{most}]
"""
DEFAULT = 0.5
"""The lowest score of what `find` gives, where training chose none."""


def labels_of(trained: TrainedModel) -> dict[int, str]:
    """The data's classes by their column in the outputs."""
    task = trained.task
    known = task.ids if isinstance(task, LabelledModel | QueryTask) else None
    if known is None or "scores" in output_names(trained):
        return dict(enumerate(trained.classes))
    return dict(zip(known.tolist(), trained.classes, strict=True))


def output_names(trained: TrainedModel) -> list[str]:
    """As `named_outputs` gives them."""
    if isinstance(trained.task, InstanceTask):
        return ["logits", "pred_boxes", "pred_masks"]
    if isinstance(trained.task, DetectionTask):
        return ["logits", "pred_boxes"]
    if isinstance(trained.task, QueryTask):
        return ["class_queries_logits", "masks_queries_logits"]
    return ["scores"]


def snippet(trained: TrainedModel, file: str, name: str, threshold: float | None) -> str:
    """The program. file: the ONNX file's name.  name: of its input.  threshold: the lowest score."""
    scale = trained.task.scale
    head = _HEAD.format(
        labels=labels_of(trained),
        mean=list(scale.mean),
        std=list(scale.std),
        factor=scale.factor,
        file=file,
        name=name,
        outputs=output_names(trained),
    )
    return f"{head}\n\n{_find(trained, DEFAULT if threshold is None else threshold)}"


def _find(trained: TrainedModel, threshold: float) -> str:
    task: Any = trained.task
    if isinstance(task, QueryTask):
        return _ENLARGE + _QUERY_MASKS.format(threshold=threshold, most=LIMIT, side=BETWEEN[0])
    if not isinstance(task, DetectionTask):
        return _SEGMENTS.format(count=len(trained.classes))
    masks = isinstance(task, InstanceTask)
    queries = int(task.model.config.num_queries) if task.family.best_queries else LIMIT
    most = min(queries, LIMIT) if masks else queries
    chosen = _NO_OBJECT if task.family.no_object else _SIGMOID.format(most=most)
    return (_ENLARGE if masks else "") + _BOXES.format(
        threshold=threshold,
        chosen=chosen.rstrip("\n"),
        masks=", masks" if masks else "",
        mask=", enlarged(masks[0, query], size) > 0" if masks else "",
    )
