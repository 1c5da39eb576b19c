"""Read the samples of a data section: one reader for each kind of source, and parts split off `train`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import assert_never

from pydantic import JsonValue

from trainables.data.coco import coco_identity, read_coco
from trainables.data.content.identity import source_content, source_identity_by_content
from trainables.data.digits import digits_identity, read_digits
from trainables.data.formats.folder import found_data
from trainables.data.formats.hub_masks import read_hub_masks
from trainables.data.formats.labelme import read_labelme
from trainables.data.formats.voc import read_voc
from trainables.data.formats.yolo import read_yolo
from trainables.data.hub import hub_identity, hub_parts, read_hub_parts
from trainables.data.masks import masks_identity, read_masks
from trainables.data.sample import DataPart, DataSource, unknown_classes
from trainables.errors import DataError
from trainables.specs.data import CocoData, DataSpec, EmbeddedData, HubData, MaskData, Split
from trainables.specs.data_formats import FolderData, LabelmeData, VocData, YoloData
from trainables.specs.data_splits import FOLDS_TAKEN, SplitSpec
from trainables.specs.workload import Task
from trainables.wording import few


def read_source(
    data: DataSpec, task: Task, classes: Sequence[str] | None = None, *, before: bool = False
) -> DataSource:
    """Read the source of the section and divide it into all its parts. Raises DataError.

    classes: the names to number classes by, instead of the data's own order.
    before: find the classes as experiments did that began with version 2 of prepared data.
    """
    found = read_given_parts(data, task, classes, before=before)
    check_names(found.parts.values())
    check_disjoint({str(split): part for split, part in found.parts.items()})
    return replace(found, parts=divide_parts(found.parts, data.splits))


def read_given_parts(
    data: DataSpec, task: Task, classes: Sequence[str] | None = None, *, before: bool = False
) -> DataSource:
    """The parts that the source itself names, whether or not they share images. See `read_source`."""
    given = found_data(data, task)
    data = given.data
    source, fitting = data.source, task.facts.sources
    if data.kind not in fitting:
        either = f"{', '.join(fitting[:-1])} or {fitting[-1]}"
        raise DataError(f"task '{task}' needs data of {either}, got {data.kind}")
    match source:
        case EmbeddedData():
            found = read_digits(source, task)
            if classes is not None and tuple(classes) != found.classes:
                raise DataError(unknown_classes("data.embedded", found.classes, classes))
        case CocoData():
            masks, shapes = task.facts.masks, task.facts.instances
            found = read_coco(source, classes, data.bits, roots=before, masks=masks, shapes=shapes)
        case MaskData():
            found = read_masks(source, classes, data.bits)
        case HubData():
            read = read_hub_masks if task.facts.masks else read_hub_parts
            found = read(source, hub_parts(source), classes, bits=data.bits)
        case YoloData():
            found = read_yolo(source, classes, data.bits, masks=task.facts.masks)
        case VocData():
            found = read_voc(source, classes, data.bits)
        case LabelmeData():
            found = read_labelme(source, classes, data.bits, masks=task.facts.masks)
        case FolderData():
            raise AssertionError("a folder's format is found before")
        case _:
            assert_never(source)
    return replace(found, found=given.said)


def source_identity(data: DataSpec) -> JsonValue:
    """All that the source's content depends on, without reading images."""
    source = data.source
    match source:
        case EmbeddedData():
            return {"embedded": digits_identity(source)}
        case CocoData():
            return {"coco": coco_identity(source)}
        case MaskData():
            return {"masks": masks_identity(source)}
        case HubData():
            return {"hub": hub_identity(source)}
        case YoloData() | VocData() | LabelmeData() | FolderData():  # no experiment of before has them
            return source_identity_by_content(data, source_content(data))
        case _:
            assert_never(source)


def divide_parts(parts: dict[Split, DataPart], spec: SplitSpec) -> dict[Split, DataPart]:
    """Split absent parts off `train`, by image name. Raises DataError.

    Names are ordered by a digest of seed and name, and test is taken first, then validation: so
    test does not depend on the other shares, and adding an image hardly moves the others.
    With folds, every k-th of the names that test leaves is for validation.
    """
    train = parts[Split.TRAIN]
    names = sort_by_digest({s.name for s in train.samples}, f"{spec.seed}")
    out, chosen = dict(parts), set[str]()

    def split_off(split: Split, taken: Sequence[str]) -> None:
        chosen.update(taken)
        inside = set(taken)
        # What is noticed of the files is noticed of the whole part.
        out[split] = DataPart([s for s in train.samples if s.name in inside], tally=train.tally)

    if Split.TEST not in parts:
        split_off(Split.TEST, names[: _count(spec.test, len(names))])
    rest = [name for name in names if name not in chosen]
    if spec.folds is not None:
        if Split.VALIDATION in parts:
            raise DataError("data.splits.folds: " + FOLDS_TAKEN)
        if len(rest) < spec.folds:
            raise DataError(
                f"data.splits.folds: {spec.folds} folds need at least as many images, but test leaves "
                f"{len(rest)}; use fewer folds"
            )
        split_off(Split.VALIDATION, rest[spec.fold :: spec.folds])
    elif Split.VALIDATION not in parts:
        split_off(Split.VALIDATION, rest[: _count(spec.validation, len(names))])
    kept = [s for s in train.samples if s.name not in chosen]
    if not kept:
        raise DataError(f"train must keep images after its parts are split off, but it has only {len(names)}")
    out[Split.TRAIN] = replace(train, samples=kept)
    return {split: out[split] for split in Split}


def sort_by_digest(names: Iterable[str], key: str) -> list[str]:
    """Sort names by a digest of `key` and name: adding or removing a name moves none of the others."""
    return sorted(names, key=lambda name: hashlib.sha256(f"{key}/{name}".encode()).digest())


def check_names(parts: Iterable[DataPart]) -> None:
    """Refuse names that are no text: prepared data and records hold them as UTF-8. Raises DataError."""
    strange = [name for part in parts for s in part.samples if not is_text(name := s.name)]
    if strange:
        raise DataError(
            f"names of images must be UTF-8 text, but {few([repr(name) for name in strange], counted=True)} "
            f"{'is' if len(strange) == 1 else 'are'} not; rename these files, such as with convmv"
        )


def is_text(name: str) -> bool:
    """Whether a name can be written as UTF-8; a file's name is bytes, which need not be."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_disjoint(parts: Mapping[str, DataPart]) -> None:
    """Refuse an image that is in two of the parts. Raises DataError."""
    seen: dict[str, tuple[str, str]] = {}
    twice: list[str] = []
    for label, part in parts.items():
        for sample in part.samples:
            before = seen.setdefault(sample.origin, (label, sample.name))
            if before[0] != label:
                twice.append(f"{sample.name} ({before[0]} and {label})")
    if twice:
        raise DataError(f"no image may be in two parts, but these are: {few(twice, 20, counted=True)}")


def _count(share: float, images: int) -> int:
    return max(1, round(share * images)) if share > 0 else 0
