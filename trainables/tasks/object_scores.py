"""The metrics of found objects over a split, which are the same for every task with boxes or their masks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from trainables.data.prepared import PreparedSplit
from trainables.metrics.coco import CocoTruth, Detections, coco_metrics, coco_names
from trainables.metrics.results import BoxResults, Keep
from trainables.metrics.rules import MetricRules
from trainables.metrics.threshold import best_f1
from trainables.specs.tasks import SCORE_THRESHOLD


def object_scores(
    truths: Sequence[CocoTruth],
    found: Sequence[Detections],
    split: PreparedSplit,
    classes: tuple[str, ...],
    rules: MetricRules,
    *,
    loss: Callable[[], float],
    finite: bool,
    keep: Keep | None,
    choose_threshold: bool,
) -> dict[str, float]:
    """COCO metrics and `loss`; all NaN if outputs were not finite. keep, choose_threshold: see `TaskModel`.

    truths, found: of each image of `split`, in its order.  loss: computed only if it is needed.
    """
    by_class = rules.definitions.with_floors
    if not finite:
        return dict.fromkeys((*coco_names(classes, by_class=by_class), "loss"), math.nan)
    if keep is not None:
        keep(BoxResults(truths, found, classes, tuple(split.names)))
    metrics = coco_metrics(truths, found, classes, by_class=by_class) | {"loss": loss()}
    if choose_threshold and (chosen := best_f1(truths, found)) is not None:
        metrics[SCORE_THRESHOLD] = chosen.threshold
    return metrics
