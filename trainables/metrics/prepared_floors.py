"""The floors of prepared data, by the sets of images that metrics are computed on; without torch."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np

from trainables.data.domains import open_domains
from trainables.data.prepared import Prepared, PreparedSplit
from trainables.data.sample import IGNORE
from trainables.metrics.above_floor import metric_floor
from trainables.metrics.coco import Array
from trainables.metrics.floors import mask_floors
from trainables.metrics.rules import MetricRules
from trainables.specs.data import Split
from trainables.specs.workload import Task, Workload

Floors = Mapping[str, Mapping[str, float]]
"""Floors by metric, by set of images: `validation`, `test`, `validation@DOMAIN`, `test@DOMAIN`."""

_SCORED = (Split.VALIDATION, Split.TEST)


def prepared_floors(prepared: Prepared, workload: Workload) -> dict[str, dict[str, float]]:
    """The floors of all sets of masks; empty for boxes, and for records without floors."""
    if not workload.task.facts.masks or not workload.definitions.with_floors:
        return {}
    rules = MetricRules.of(workload, prepared.classes)
    classes = prepared.classes
    pixels = {set_name(split): true_pixels(prepared.splits[split], len(classes)) for split in _SCORED}
    for name, parts in open_domains(prepared, workload).items():
        corrupted = workload.data.domains[name].corruption is not None  # of the same masks
        for split in _SCORED:
            pixels[set_name(split, name)] = (
                pixels[set_name(split)] if corrupted else true_pixels(parts[split], len(classes))
            )
    return {name: mask_floors(truth, classes, rules) for name, truth in pixels.items() if len(truth)}


def true_pixels(split: PreparedSplit, classes: int) -> Array:
    """(n, classes) int64: the counted pixels of each class in each mask."""
    rows = None if split.rows is None else tuple(split.rows)
    return _true_pixels(split.path, split.task, rows, classes)


@lru_cache(maxsize=16)
def _true_pixels(path: Path, task: Task, rows: tuple[int, ...] | None, classes: int) -> Array:
    """Kept, because every mask is read, and prepared files do not change."""
    split = PreparedSplit(path, task, rows)
    counts = np.zeros((len(split), classes), np.int64)
    for i in range(len(split)):
        counts[i] = np.bincount(split.mask(i).ravel(), minlength=IGNORE + 1)[:classes]
    counts.setflags(write=False)
    return counts


def objective_floor(workload: Workload, floors: Floors) -> float | None:
    """The floor of the objective on the validation images that it is measured on; None without one."""
    asked = workload.metric
    if not workload.definitions.with_floors or asked.base in workload.task.facts.lower_is_better:
        return None
    return metric_floor(asked, floors.get(set_name(Split.VALIDATION, asked.domain), {}))


def set_name(split: Split, domain: str | None = None) -> str:
    """The key of a set of images in the floors: `validation`, `test@stain`."""
    return str(split) if domain is None else f"{split}@{domain}"
