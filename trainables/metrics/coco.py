"""The twelve COCO metrics, and AP by class, of boxes or masks in original pixels.

hotcoco computes them; pycocotools is the reference in the tests and can be selected instead.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol, cast

import numpy as np

from trainables.errors import AdaptertuneError
from trainables.specs.tasks import COCO_METRICS, MAP_WORST

Array = np.ndarray[Any, np.dtype[Any]]
AREAS = {
    "all": (0.0, 1e5**2),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e5**2),
}
"""COCO's ranges of annotated areas, in square pixels, both ends included."""
LIMIT = 100
"""The number of detections that count for an image, by decreasing score."""


class Backend(StrEnum):
    """The library that computes the metrics; both give the same values."""

    HOTCOCO = "hotcoco"
    PYCOCOTOOLS = "pycocotools"


class CocoTruth(Protocol):
    """The annotations of an image.

    boxes: (n, 4) xywh, original pixels.  labels: (n,) class indices.  areas: (n,) the annotated areas,
    which sort objects into small, medium and large.  crowds: (n,) bool; a crowd box is never a false
    negative, and a detection inside it is no false positive.
    """

    @property
    def boxes(self) -> Array: ...  # noqa: D102
    @property
    def labels(self) -> Array: ...  # noqa: D102
    @property
    def areas(self) -> Array: ...  # noqa: D102
    @property
    def crowds(self) -> Array: ...  # noqa: D102


class MaskTruth(CocoTruth, Protocol):
    """The annotations of an image with a mask of each object.

    masks: (n,) in compressed run-length encoding.  height, width: of the image, in pixels.
    """

    @property
    def masks(self) -> tuple[bytes, ...] | None: ...  # noqa: D102
    @property
    def height(self) -> int: ...  # noqa: D102
    @property
    def width(self) -> int: ...  # noqa: D102


@dataclass(frozen=True)
class Detections:
    """The detections in an image. boxes: (n, 4) xywh, original pixels.  scores: (n,).  labels: (n,).

    masks: (n,) in run-length encoding on an image of (height, width) `size`; None for boxes. Where detections
    have masks, these are compared with those of the truth, which is then a `MaskTruth`.
    """

    boxes: Array
    scores: Array
    labels: Array
    masks: tuple[bytes, ...] | None = None
    size: tuple[int, int] = (0, 0)


def run_lengths(codes: Iterable[bytes], size: tuple[int, int]) -> list[dict[str, Any]]:
    """Masks as the libraries take them. size: (height, width)."""
    return [{"size": list(size), "counts": code} for code in codes]


def of_truth(truth: CocoTruth) -> tuple[tuple[bytes, ...], tuple[int, int]]:
    """The masks of a truth that has them, and the (height, width) of its image."""
    held = cast(MaskTruth, truth)
    assert held.masks is not None
    return held.masks, (held.height, held.width)


def coco_metrics(
    truths: Sequence[CocoTruth],
    detections: Sequence[Detections],
    classes: Sequence[str],
    *,
    backend: Backend = Backend.HOTCOCO,
    by_class: bool = True,
) -> dict[str, float]:
    """COCO_METRICS, each of them by class, and `map_worst`; images in the same order in both sequences.

    by_class: False for `map/CLASS` only, and no `map_worst`, as in records without floors.
    A metric without a single object (COCO's -1) is left out, except `map`, which is then 0.
    """
    if backend is Backend.PYCOCOTOOLS:
        precision, recall = _pycocotools(truths, detections, classes)
    else:
        precision, recall = _hotcoco(truths, detections, classes)
    # precision: (IoU, recall, class, size, limit), recall: (IoU, class, size, limit); -1 where undefined.
    # Once IoU, size and limit are chosen, the class is the last axis.
    # Sizes are all, small, medium, large; limits 1, 10, 100; IoU .5, .55, … .95.
    values = [
        precision[..., 0, 2], precision[0, ..., 0, 2], precision[5, ..., 0, 2],
        precision[..., 1, 2], precision[..., 2, 2], precision[..., 3, 2],
        recall[..., 0, 0], recall[..., 0, 1], recall[..., 0, 2],
        recall[..., 1, 2], recall[..., 2, 2], recall[..., 3, 2],
    ]  # fmt: skip
    named = dict(zip(COCO_METRICS, values, strict=True))
    metrics = {name: _mean(value) for name, value in named.items()}
    for base, value in named.items() if by_class else [("map", named["map"])]:
        metrics |= {f"{base}/{name}": _mean(value[..., index]) for index, name in enumerate(classes)}
    found = {name: value for name, value in metrics.items() if value is not None}
    alone = [found[f"map/{name}"] for name in classes if f"map/{name}" in found]
    if by_class and alone:
        found[MAP_WORST] = min(alone)
    return {"map": 0.0} | found


def coco_names(classes: Sequence[str], *, by_class: bool = True) -> tuple[str, ...]:
    """The names of all metrics of `coco_metrics`."""
    bases = COCO_METRICS if by_class else ("map",)
    worst = (MAP_WORST,) if by_class else ()
    return (*COCO_METRICS, *worst, *(f"{base}/{name}" for base in bases for name in classes))


def _mean(values: Array) -> float | None:
    defined = values[values > -1]
    return float(np.mean(defined)) if defined.size else None


def _hotcoco(
    truths: Sequence[CocoTruth], detections: Sequence[Detections], classes: Sequence[str]
) -> tuple[Array, Array]:
    evaluation = match_with_hotcoco(truths, detections, classes)
    evaluation.accumulate()
    result: Any = evaluation.eval
    return np.asarray(result["precision"]), np.asarray(result["recall"])


def match_with_hotcoco(
    truths: Sequence[CocoTruth], detections: Sequence[Detections], classes: Sequence[str]
) -> Any:
    """hotcoco's evaluation after matching, before it is summarised."""
    import hotcoco

    if have_masks(detections):
        truth = hotcoco.COCO(_dataset(truths, classes, masks=True))
        evaluation = hotcoco.COCOeval(truth, truth.load_res(_mask_results(detections)), "segm")
    else:
        truth = hotcoco.COCO(_dataset(truths, classes))
        evaluation = hotcoco.COCOeval(truth, truth.load_res(_results(detections)), "bbox")
    evaluation.evaluate()
    return evaluation


def have_masks(detections: Sequence[Detections]) -> bool:
    """Whether masks are compared, not boxes."""
    return any(found.masks is not None for found in detections)


def _pycocotools(
    truths: Sequence[CocoTruth], detections: Sequence[Detections], classes: Sequence[str]
) -> tuple[Array, Array]:
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise AdaptertuneError(
            "pycocotools is not installed; install adaptertune[coco], or use hotcoco"
        ) from error
    with contextlib.redirect_stdout(io.StringIO()):
        truth, found = COCO(), COCO()
        masks = have_masks(detections)
        truth.dataset = _dataset(truths, classes, masks=masks)
        truth.createIndex()
        rows: Any = _mask_results(detections) if masks else _results(detections)
        if len(rows):
            found = truth.loadRes(rows)
        else:  # loadRes does not accept an empty list
            found.dataset = _dataset([], classes)
            found.createIndex()
        evaluation = COCOeval(truth, found, "segm" if masks else "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval["precision"], evaluation.eval["recall"]


def _dataset(truths: Sequence[CocoTruth], classes: Sequence[str], *, masks: bool = False) -> dict[str, Any]:
    """Ground truth as a COCO dict; image, class and box numbers start at 1 (0 means 'unmatched')."""
    annotations: list[dict[str, Any]] = []
    for image, truth in enumerate(truths, start=1):
        rows = zip(
            truth.boxes.tolist(),
            truth.labels.tolist(),
            truth.areas.tolist(),
            truth.crowds.tolist(),
            strict=True,
        )
        shapes = run_lengths(*of_truth(truth)) if masks else []
        for place, (box, label, area, crowd) in enumerate(rows):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": int(label) + 1,
                    "bbox": box,
                    "area": area,
                    "iscrowd": int(crowd),
                }
                | ({"segmentation": shapes[place]} if masks else {})
            )
    sizes = [of_truth(truth)[1] for truth in truths] if masks else []
    images = [
        {"id": image} | ({"height": sizes[image - 1][0], "width": sizes[image - 1][1]} if masks else {})
        for image in range(1, len(truths) + 1)
    ]
    return {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": index, "name": name} for index, name in enumerate(classes, start=1)],
    }


def _results(detections: Sequence[Detections]) -> Array:
    """(n, 7) float64: image, x, y, width, height, score, class."""
    rows = [
        np.column_stack([np.full(len(d.scores), image), d.boxes, d.scores, d.labels + 1])
        for image, d in enumerate(detections, start=1)
        if len(d.scores)
    ]
    return np.concatenate(rows).astype(np.float64) if rows else np.zeros((0, 7))


def _mask_results(detections: Sequence[Detections]) -> list[dict[str, Any]]:
    """Without boxes, so that a detection has the area of its mask."""
    return [
        {"image_id": image, "category_id": int(label) + 1, "score": float(score), "segmentation": shape}
        for image, found in enumerate(detections, start=1)
        for label, score, shape in zip(
            found.labels, found.scores, run_lengths(found.masks or (), found.size), strict=True
        )
    ]


def top_detections(boxes: Array, scores: Array, labels: Array, *, limit: int = LIMIT) -> Detections:
    """The `limit` best detections of an image, by decreasing score, ties in the given order."""
    best = np.argsort(-scores, kind="stable")[:limit]
    return Detections(boxes=boxes[best], scores=scores[best], labels=labels[best])
