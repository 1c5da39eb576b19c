"""Whether the objective of an experiment can have a value on its validation images."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from trainables.inspection.counts import joined
from trainables.inspection.images import SeenData
from trainables.inspection.parts import ReadData
from trainables.metrics.objective_value import absent_boxes, absent_pixels, without_value
from trainables.metrics.rules import MetricRules
from trainables.specs.data import Split
from trainables.specs.metric_class import class_error
from trainables.specs.tasks import is_coco
from trainables.specs.workload import ROBUSTNESS, MetricName, Workload


def objective_fault(workload: Workload, read: ReadData, seen: SeenData) -> str | None:
    """Why the objective has no value, as training would say it; None if it has one."""
    for asked in workload.metrics:
        reason = next(_reasons(workload, read, seen, asked), None)
        if reason is not None:
            return f"{workload.named(asked)}: {reason}"
    return None


def _reasons(workload: Workload, read: ReadData, seen: SeenData, asked: MetricName) -> Iterator[str]:
    classes = read.classes
    if (error := class_error(asked, classes)) is not None:
        yield error
        return
    robust = asked.base == ROBUSTNESS
    name = MetricName(workload.task.facts.main_metric) if robust else asked
    own = robust or asked.domain is None
    sets = [("validation", str(Split.VALIDATION))] if own else []
    for domain in workload.domains_of(asked):
        corrupted = workload.data.domains[domain].corruption is not None  # of the data's own images
        label = str(Split.VALIDATION) if corrupted else f"{Split.VALIDATION}@{domain}"
        sets.append((f"validation of domain {domain}", label))
    for what, label in sets:
        if (absent := _absent(label, name, workload, classes, seen)) is not None:
            yield without_value(what, absent)


def _absent(
    label: str, metric: MetricName, workload: Workload, classes: tuple[str, ...], seen: SeenData
) -> str | None:
    images = [image for image in seen.of(label) if image.used]
    if not images:
        return "no images"
    if is_coco(metric.base):
        labels, areas, crowds = (
            joined([getattr(image, column) for image in images]) for column in ("labels", "areas", "crowds")
        )
        return absent_boxes(labels, areas, crowds, metric, classes)
    if not workload.task.facts.masks:
        return None
    pixels = np.sum([image.pixels[:-1] for image in images], axis=0)
    return absent_pixels(pixels, metric, classes, MetricRules.of(workload, classes))
