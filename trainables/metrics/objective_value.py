"""Whether the objective can have a value on the validation images, from their annotations alone.

Without such an object a whole epoch would be trained, by every trial, before the metric is missing.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from trainables.data.domains import Parts, open_domains
from trainables.data.prepared import Prepared, PreparedSplit
from trainables.errors import DataError
from trainables.metrics.coco import Array
from trainables.metrics.hits import HitRule
from trainables.metrics.mask_means import WITH_BACKGROUND, WORST
from trainables.metrics.prepared_floors import true_pixels
from trainables.metrics.rules import MetricRules
from trainables.specs.data import Split
from trainables.specs.metric_class import class_error
from trainables.specs.tasks import is_coco
from trainables.specs.workload import ROBUSTNESS, MetricName, Workload


def check_objective(prepared: Prepared, workload: Workload) -> None:
    """Raise DataError if a metric that is weighed has no value on the validation images, with the reason."""
    for asked in workload.metrics:
        reason = next(_reasons(prepared, workload, asked), None)
        if reason is not None:
            raise DataError(f"{workload.named(asked)}: {reason}")


def _reasons(prepared: Prepared, workload: Workload, asked: MetricName) -> Iterator[str]:
    classes, watched = prepared.classes, workload.domains_of(asked)
    if (error := class_error(asked, classes)) is not None:
        yield error
        return
    domains: dict[str, Parts] = open_domains(prepared, workload) if watched else {}
    own = asked.base == ROBUSTNESS or asked.domain is None
    name = MetricName(workload.task.facts.main_metric) if asked.base == ROBUSTNESS else asked
    sets: list[tuple[str, PreparedSplit]] = []
    if own:
        sets.append((str(Split.VALIDATION), prepared.splits[Split.VALIDATION]))
    for domain in watched:
        sets.append((f"validation of domain {domain}", domains[domain][Split.VALIDATION]))
    rules = MetricRules.of(workload, classes)
    for what, split in sets:
        if (absent := _absent(split, name, classes, rules)) is not None:
            yield without_value(what, absent)


def without_value(what: str, absent: str) -> str:
    """Why a metric has no value. what: a set of images.  absent: what it lacks, as text."""
    return (
        f"{what} has {absent}, so that the metric has no value there; add such images to it, or "
        "use another objective"
    )


def _absent(
    split: PreparedSplit, metric: MetricName, classes: tuple[str, ...], rules: MetricRules
) -> str | None:
    """What the images of `split` lack for a metric, as text; None if it has a value."""
    if not len(split):
        return "no images"
    if is_coco(metric.base):
        labels, areas, crowds = (
            np.concatenate([part(i) for i in range(len(split))])
            for part in (split.labels, split.areas, split.crowds)
        )
        return absent_boxes(labels, areas, crowds, metric, classes)
    if not split.has_masks:
        return None
    return absent_pixels(true_pixels(split, len(classes)).sum(axis=0), metric, classes, rules)


def absent_pixels(
    pixels: Array, metric: MetricName, classes: tuple[str, ...], rules: MetricRules
) -> str | None:
    """What masks lack for a metric, as text. pixels: (classes,) of each class in all of them."""
    if metric.of_class is not None:
        found = pixels[classes.index(metric.of_class)]
        return None if found else f"no pixel of class {metric.of_class}"
    if not pixels.any():
        return "no pixel that is counted"
    base = metric.base.removesuffix(WORST)
    number = getattr(rules.definitions, base, 1)
    if metric.base.endswith(WITH_BACKGROUND) or number < 2:
        return None
    front = pixels[list(rules.foreground(classes))]
    return None if front.any() else f"no pixel of a class other than {rules.background}"


def absent_boxes(
    labels: Array, areas: Array, crowds: Array, metric: MetricName, classes: tuple[str, ...]
) -> str | None:
    """What boxes lack for a metric, as text. labels, areas, crowds: (n,) of all images."""
    size = metric.base.rpartition("_")[2]
    kind = f"{size} box" if size in ("small", "medium", "large") else "box"
    of = "" if metric.of_class is None else f" of class {metric.of_class}"
    wanted = np.ones(len(labels), bool)
    if metric.of_class is not None:
        wanted = labels == classes.index(metric.of_class)
    rule = HitRule.of(metric.base)
    if rule.counts(areas[wanted], crowds[wanted]).any():
        return None
    if rule.counts(areas[wanted], np.zeros_like(crowds[wanted])).any():
        return f"no {kind}{of} that is counted: all of them are crowds"
    return f"no {kind}{of}{_range(size)}"


def _range(size: str) -> str:
    low, high = HitRule.of(f"map_{size}").sizes
    match size:
        case "small":
            return f" (an annotated area of at most {high:g} square pixels)"
        case "medium":
            return f" (an annotated area from {low:g} to {high:g} square pixels)"
        case "large":
            return f" (an annotated area of at least {low:g} square pixels)"
    return ""
