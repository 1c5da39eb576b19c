"""From a data section to samples: one reader a kind of source, and the parts split off `train`."""

from __future__ import annotations

import hashlib
from typing import assert_never

from pydantic import JsonValue

from trainables.data.coco import coco_identity, read_coco
from trainables.data.digits import digits_identity, read_digits
from trainables.data.hub import hub_identity, read_hub
from trainables.data.masks import masks_identity, read_masks
from trainables.data.sample import Annotations, Part, Sample, Source
from trainables.errors import DataError
from trainables.workload import CocoData, DataSpec, EmbeddedData, HubData, MaskData, Split, SplitSpec, Task

__all__ = ["Annotations", "Part", "Sample", "Source", "divide", "read_source", "source_identity"]


def read_source(data: DataSpec, task: Task) -> Source:
    """Read what the section names, every part in place. Raises DataError."""
    source = data.source
    masked = isinstance(source, MaskData)
    if masked if task is Task.DETECTION else isinstance(source, CocoData | HubData):
        fits = "embedded, coco or hub" if task is Task.DETECTION else "embedded or masks"
        raise DataError(f"task '{task}' needs data of {fits}, got {_section(data)}")
    match source:
        case EmbeddedData():
            found = read_digits(source, task)
        case CocoData():
            found = read_coco(source)
        case MaskData():
            found = read_masks(source)
        case HubData():
            found = read_hub(source)
        case _:
            assert_never(source)
    _disjoint(found.parts)
    return Source(found.classes, divide(found.parts, data.splits))


def source_identity(data: DataSpec) -> JsonValue:
    """What the source's content depends on, without reading images."""
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
        case _:
            assert_never(source)


def divide(parts: dict[Split, Part], spec: SplitSpec) -> dict[Split, Part]:
    """Split the parts that are absent off `train`, by image name.

    Names are ordered by a digest of seed and name, and test is taken first, then validation: so
    test is the same whatever the other shares are, and one more image hardly moves the others.
    """
    train = parts[Split.TRAIN]
    names = sorted(
        {s.name for s in train.samples}, key=lambda n: hashlib.sha256(f"{spec.seed}/{n}".encode()).digest()
    )
    out, taken = dict(parts), 0
    for split, share in ((Split.TEST, spec.test), (Split.VALIDATION, spec.validation)):
        if split in parts:
            continue
        count = max(1, round(share * len(names))) if share > 0 else 0
        chosen = set(names[taken : taken + count])
        taken += count
        out[split] = Part([s for s in train.samples if s.name in chosen])
    kept = set(names[taken:])
    if not kept:
        raise DataError(f"train must keep images after its parts are split off, but it has only {len(names)}")
    out[Split.TRAIN] = Part([s for s in train.samples if s.name in kept], train.faults)
    return {split: out[split] for split in Split}


def _section(data: DataSpec) -> str:
    return next(n for n in ("embedded", "coco", "masks", "hub") if getattr(data, n) is not None)


def _disjoint(parts: dict[Split, Part]) -> None:
    """Refuse an image that stands in two of the parts that a source gives."""
    seen: dict[str, tuple[Split, str]] = {}
    twice: list[str] = []
    for split, part in parts.items():
        for sample in part.samples:
            before = seen.setdefault(sample.origin, (split, sample.name))
            if before[0] is not split:
                twice.append(f"{sample.name} ({before[0]} and {split})")
    if twice:
        more = f" and {len(twice) - 20} more" if len(twice) > 20 else ""
        raise DataError(f"no image may stand in two parts, but these do: {', '.join(twice[:20])}{more}")
