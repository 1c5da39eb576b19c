"""Looks at every image as the preparation of data does, and keeps what it says, without its pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from trainables.data.check import Checked, SizeRule, check_image
from trainables.data.consistency import Seen, check_consistency
from trainables.data.evidence import Evidence
from trainables.data.faults import Finding
from trainables.data.files.mask_pixels import IGNORE
from trainables.data.prepare import ahead
from trainables.data.resize import Interpolation
from trainables.data.sample import DataSource, Sample
from trainables.inspection.parts import ReadData, ReadPart
from trainables.progress import shown_progress
from trainables.specs.data import DataSpec, FaultRule
from trainables.specs.workload import Task
from trainables.wording import printable

Array = np.ndarray[Any, np.dtype[Any]]

SHOWN_SIDE = 1024
"""The longest side in pixels at which images are shown if no model says at which size it sees them."""


@dataclass(frozen=True)
class AsStored:
    """The images' own size, or less where they are longer than `SHOWN_SIDE`."""

    interpolation: Interpolation = Interpolation.BILINEAR

    def target(self, height: int, width: int) -> tuple[int, int]:
        """See `SizeRule`."""
        factor = min(1.0, SHOWN_SIDE / max(height, width, 1))
        return max(1, round(height * factor)), max(1, round(width * factor))


@dataclass(frozen=True, eq=False)
class SeenImage:
    """What one image says.

    size: (height, width), upright.  target: (height, width) after resizing.  Both (0, 0) if it is left out.
    labels: (n,) class numbers of its valid boxes.  boxes: (n, 4) float64 xywh in original pixels.
    outlines: (n, 4) around polygons or masks, NaN without one.  areas, crowds: (n,).
    pixels: (classes,) pixels of each class at `target`, and at the end ignored ones; empty without a mask.
    """

    part: ReadPart
    sample: Sample
    findings: tuple[Finding, ...]
    size: tuple[int, int] = (0, 0)
    target: tuple[int, int] = (0, 0)
    labels: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    boxes: Array = field(default_factory=lambda: np.zeros((0, 4)))
    outlines: Array = field(default_factory=lambda: np.zeros((0, 4)))
    areas: Array = field(default_factory=lambda: np.zeros(0))
    crowds: Array = field(default_factory=lambda: np.zeros(0, bool))
    pixels: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    evidence: Evidence | None = None

    @property
    def name(self) -> str:
        """Its name in lists and on pictures, in one line."""
        return " ".join(printable(self.sample.name).split("\n"))

    @property
    def label(self) -> str:
        """Its part's label."""
        return self.part.label

    @property
    def used(self) -> bool:
        """Whether it is left after faults are dropped."""
        return self.size != (0, 0)

    @property
    def shown_classes(self) -> Array:
        """The numbers of the classes that it shows."""
        if len(self.pixels):
            return np.flatnonzero(self.pixels[:-1])
        return np.unique(self.labels)


@dataclass
class SeenData:
    """All images in the order of the parts, and what they say together."""

    images: list[SeenImage]
    warnings: list[str]
    refusals: list[str]

    def of(self, label: str) -> list[SeenImage]:
        """The images of a part."""
        return [image for image in self.images if image.label == label]


def look_at_images(
    read: ReadData, data: DataSpec, task: Task, size: SizeRule, *, progress: bool = False
) -> SeenData:
    """Look at every image of all parts. Damaged ones are findings; nothing is raised for them."""
    seen = SeenData([], [], [])
    total = sum(len(part.part.samples) for part in read.parts)
    bar = shown_progress("inspecting data", total) if progress else nullcontext(lambda: None)
    with bar as advance:
        for part in read.parts:
            seen.images += _look_at_part(part, read, data, task, size, advance)
    for source in {id(part.source): part.source for part in read.parts}.values():
        _check_together(source, [p for p in read.parts if p.source is source], data, seen)
    return seen


def _look_at_part(
    part: ReadPart,
    read: ReadData,
    data: DataSpec,
    task: Task,
    size: SizeRule,
    advance: Callable[[], None],
) -> list[SeenImage]:
    source = part.source
    work = partial(
        check_image,
        split=part.split,
        classes=source.classes,
        task=task,
        size=size,
        background=source.classes.index(source.background) if source.background is not None else 0,
        keep_empty=data.faults.empty_mask is FaultRule.KEEP,
    )
    images = []
    with ThreadPoolExecutor(max_workers=4) as pool:
        for sample, checked in zip(part.part.samples, ahead(pool, work, part.part.samples), strict=True):
            images.append(_seen(part, sample, checked, len(read.classes)))
            advance()
    return images


def _seen(part: ReadPart, sample: Sample, checked: Checked, classes: int) -> SeenImage:
    row, findings = checked.row, tuple(checked.findings)
    if row is None:
        return SeenImage(part, sample, findings)
    numbers = np.asarray(part.numbers, np.int64)
    pixels = np.zeros(0, np.int64)
    if row.mask is not None:
        counted = np.bincount(np.frombuffer(row.mask, np.uint8), minlength=IGNORE + 1)
        pixels = np.zeros(classes + 1, np.int64)
        pixels[numbers] = counted[: len(numbers)]
        pixels[-1] = counted[IGNORE]
    found = row.found
    return SeenImage(
        part=part,
        sample=sample,
        findings=findings,
        size=row.original,
        target=row.size,
        labels=numbers[found.labels] if len(found.labels) else found.labels,
        boxes=found.boxes,
        outlines=found.outlines,
        areas=found.areas,
        crowds=found.crowds,
        pixels=pixels,
        evidence=checked.evidence,
    )


def _check_together(source: DataSource, parts: Sequence[ReadPart], data: DataSpec, seen: SeenData) -> None:
    """The check of all images of a source that their preparation makes, with every refusal collected."""
    by_split = {part.split: Seen() for part in parts}
    for image in seen.images:
        if image.part.source is source and image.evidence is not None:
            by_split[image.part.split].add(image.name, image.evidence)
    own = parts[0].domain is None and data.kind != "embedded"
    warnings = check_consistency(
        source,
        by_split,
        bits=data.bits,
        corners=source.corners,
        own_classes=own,
        refusals=seen.refusals,
    )
    named = "" if parts[0].domain is None else f"domain {parts[0].domain}: "
    seen.warnings += [named + warning for warning in warnings]
