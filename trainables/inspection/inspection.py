"""What `adaptertune inspect` finds, as one value: the data before any training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from trainables.data.check import SizeRule
from trainables.data.faults import Finding, stop_message, stopping_findings
from trainables.data.formats.folder import found_data
from trainables.errors import DataError, ModelError
from trainables.image_sizes import size_of
from trainables.inspection.chosen import Chosen, choose_images
from trainables.inspection.class_names import ClassMapping, map_classes
from trainables.inspection.coco_signs import coco_signs
from trainables.inspection.counts import (
    ClassCounts,
    PartCounts,
    count_classes,
    count_part,
    image_sizes,
)
from trainables.inspection.folder_signs import folder_signs
from trainables.inspection.images import AsStored, SeenImage, look_at_images
from trainables.inspection.leaks import Leak, find_leaks
from trainables.inspection.objective import objective_fault
from trainables.inspection.parts import UNREAD, ReadData, read_parts, unread_files
from trainables.inspection.pictures import Picture, draw_chosen
from trainables.inspection.signs import Sign, find_signs
from trainables.specs.data import DataSpec, Split
from trainables.specs.workload import ModelSpec, ObjectiveSpec, Task, Workload

LISTED = 1000
"""The findings that are kept in the JSON; their number is always whole."""


@dataclass(frozen=True, eq=False)
class Subject:
    """What is inspected. title: its name.  notes: how it was found out, in sentences.

    workload: the experiment, None for a folder.  model: whose size and classes count, None if none is named.
    """

    title: str
    task: Task
    data: DataSpec
    model: ModelSpec | None = None
    workload: Workload | None = None
    notes: tuple[str, ...] = ()

    def size(self) -> SizeRule:
        """How images are resized for the model. Raises ModelError if its settings cannot be read."""
        if self.model is None:
            return AsStored()
        asked = self.workload or Workload(
            task=self.task, data=self.data, objective=ObjectiveSpec(metric=self.task.facts.main_metric)
        )
        return size_of(asked.model_copy(update={"model": self.model}))


@dataclass(frozen=True, eq=False)
class Inspection:
    """What was found. refusals: why training would refuse the data, empty if it would not.

    warnings: what preparation warns of.  sizes: (height, width), the same for the model, and images.
    """

    subject: Subject
    classes: tuple[ClassCounts, ...]
    background: int | None
    parts: tuple[PartCounts, ...]
    refusals: tuple[str, ...]
    warnings: tuple[str, ...]
    signs: tuple[Sign, ...]
    leaks: tuple[Leak, ...]
    findings: tuple[Finding, ...]
    sizes: tuple[tuple[tuple[int, int], tuple[int, int], int], ...]
    mapping: ClassMapping | None
    size: SizeRule
    chosen: tuple[Chosen, ...] = field(default=())

    @property
    def size_known(self) -> bool:
        """Whether images are shown at the size that a model sees."""
        return not isinstance(self.size, AsStored)

    def pictures(self) -> list[Picture]:
        """The chosen images, drawn."""
        return draw_chosen(
            self.chosen,
            [c.name for c in self.classes],
            self.size,
            background=self.background,
            masks=self.subject.task.facts.masks,
            instances=self.subject.task.facts.instances,
        )

    def record(self) -> dict[str, Any]:
        """All of it as plain values for JSON."""
        return {
            "title": self.subject.title,
            "task": str(self.subject.task),
            "data": self.subject.data.kind,
            "notes": list(self.subject.notes),
            "model": None if self.subject.model is None else self.subject.model.name,
            "refusals": list(self.refusals),
            "parts": [_sized(part) for part in self.parts],
            "classes": [_sized(each) for each in self.classes],
            "image_sizes": [
                {"height": s[0], "width": s[1], "seen_height": t[0], "seen_width": t[1], "images": n}
                for s, t, n in self.sizes
            ],
            "faults": {"count": len(self.findings), "first": [f.record() for f in self.findings[:LISTED]]},
            "warnings": list(self.warnings),
            "signs": [sign.text for sign in self.signs],
            "leaks": [
                {
                    "kind": str(leak.kind),
                    "across_parts": leak.across,
                    "images": [{"part": label, "name": name} for label, name in leak.places],
                }
                for leak in self.leaks[:LISTED]
            ],
            "checkpoint_classes": None if self.mapping is None else asdict(self.mapping),
            "shown": [{"part": c.image.label, "name": c.image.name, "why": list(c.why)} for c in self.chosen],
        }


def _sized(counts: PartCounts | ClassCounts) -> dict[str, Any]:
    record = asdict(counts)
    return record | {"sizes": dict(zip(("small", "medium", "large"), counts.sizes, strict=True))}


def inspect_data(subject: Subject, *, images: int = 24, progress: bool = False) -> Inspection:
    """Look at all data of the subject. images: how many are chosen to be shown.

    Raises DataError only if nothing at all can be read, and no error for data that training refuses.
    """
    refusals: list[str] = []
    subject = _found(subject, refusals)
    size = _size(subject, refusals)
    read = read_parts(subject.data, subject.task)
    refusals += read.refusals
    seen = look_at_images(read, subject.data, subject.task, size, progress=progress)
    findings = [*(f for part in read.parts for f in part.part.faults)]
    findings += [f for image in seen.images for f in image.findings]
    stops = stopping_findings(findings, subject.data.faults)
    refusals += [*seen.refusals, *([stop_message(stops)] if stops else [])]
    background = read.classes.index(read.background) if read.background is not None else None
    labels = [part.label for part in read.parts]
    parts = tuple(count_part(label, seen.of(label), background) for label in labels)
    masks = subject.task.facts.masks
    classes = tuple(count_classes(read.classes, labels, seen.images, masks=masks))
    refusals += _too_little(parts, masks=masks, divided=read.divided, given=bool(read.parts))
    if subject.workload is not None and read.divided and not refusals:
        fault = objective_fault(subject.workload, read, seen)
        refusals += [fault] if fault is not None else []
    mapping = _mapping(subject, read, refusals)
    leaks = tuple(find_leaks([image for image in seen.images if _comparable(image, subject.data)]))
    signs = (
        *_forms(read),
        *coco_signs(subject.data),
        *folder_signs(subject.data, read),
        *find_signs(seen.images, parts, classes, background),
    )
    chosen = choose_images(seen.images, signs, leaks, images)
    if not read.parts:
        chosen = _unread(subject.data, images)
    return Inspection(
        subject=subject,
        classes=classes,
        background=background,
        parts=parts,
        refusals=tuple(dict.fromkeys(refusals)),
        warnings=tuple(seen.warnings),
        signs=signs,
        leaks=leaks,
        findings=tuple(findings),
        sizes=tuple(image_sizes(seen.images)),
        mapping=mapping,
        size=size,
        chosen=tuple(chosen),
    )


def _forms(read: ReadData) -> list[Sign]:
    """In which form boxes are read that may come in two, and the setting that declares it."""
    forms = {
        f"boxes are read as {'[x0, y0, x1, y1]' if s.corners else '[x, y, width, height]'}, as declared "
        f"or as their areas and images show; `{s.declared_by}` declares it"
        for s in (part.source for part in read.parts)
        if s.declared_by is not None
    }
    return [Sign(text) for text in sorted(forms)]


def _found(subject: Subject, refusals: list[str]) -> Subject:
    """The subject with what lies in a folder that is given alone."""
    try:
        given = found_data(subject.data, subject.task)
    except DataError as error:
        refusals.append(str(error))
        return subject
    notes = (*subject.notes, *([f"found: {given.said}"] if given.said else []))
    return replace(subject, data=given.data, notes=notes)


def _unread(data: DataSpec, most: int) -> list[Chosen]:
    """Some files of data of which nothing could be read."""
    parts = unread_files(data, most)
    files = [SeenImage(part, sample, ()) for part in parts for sample in part.part.samples]
    return [Chosen(image, (UNREAD,)) for image in files[:most]]


def _size(subject: Subject, refusals: list[str]) -> SizeRule:
    try:
        return subject.size()
    except ModelError as error:
        refusals.append(str(error))
        return AsStored()


def _too_little(parts: Sequence[PartCounts], *, masks: bool, divided: bool, given: bool) -> list[str]:
    """What training needs and the data do not have; it says so after all faults are known."""
    if not divided or not given:
        return []
    by_label = {part.label: part for part in parts}
    found = []
    for split in (Split.TRAIN, Split.VALIDATION):
        part = by_label.get(str(split))
        if part is None or not part.used:
            found.append(
                f"{split} must have images, but none of its {0 if part is None else part.images} is left"
            )
        elif not masks and not part.boxes:
            found.append(f"{split} must have boxes, but none is left")
    return found


def _mapping(subject: Subject, read: ReadData, refusals: list[str]) -> ClassMapping | None:
    if subject.model is None or not read.classes:
        return None
    try:
        mapping = map_classes(subject.model, subject.task, read.classes)
    except ModelError as error:
        refusals.append(str(error))
        return None
    if mapping.refused:
        refusals.append(f"model.name '{mapping.model}': {mapping.verdict}")
    return mapping


def _comparable(image: SeenImage, data: DataSpec) -> bool:
    """Whether an image that is in another part too is a leak: embedded domains show the same scenes."""
    domain = image.part.domain
    return domain is None or data.domains[domain].kind != "embedded"
