"""Signs of converters' faults that only the COCO JSON file itself shows: how ids and flags are written."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from trainables.data.files.coco_fields import key, number, whole_number
from trainables.data.sample import fold_name
from trainables.inspection.signs import Sign
from trainables.specs.data import CocoPart, DataSpec, Split
from trainables.wording import few, plural

Json = dict[str, Any]


def coco_signs(data: DataSpec) -> list[Sign]:
    """The signs of all COCO files of the data; none for another kind of data, or for what is no COCO JSON."""
    if data.coco is None:
        return []
    given = {split: getattr(data.coco, split.value) for split in Split}
    return [sign for split, part in given.items() if part is not None for sign in _of_part(str(split), part)]


def _of_part(label: str, part: CocoPart) -> Iterator[Sign]:
    try:
        file = json.loads(Path(part.annotations).read_bytes())
        lists = [
            [e for e in file[name] if isinstance(e, dict)] for name in ("images", "annotations", "categories")
        ]
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        return  # refused by its reader, with the reason
    images, annotations, categories = lists
    for text in (
        *_category_ids(categories),
        *_roots(categories, annotations),
        *_types(images, annotations, categories),
        *_flags(annotations),
        *_annotation_ids(annotations),
        *_listed_twice(images),
        *_without_boxes(annotations),
    ):
        yield Sign(f"{label}: {text}")


def _category_ids(categories: list[Json]) -> Iterator[str]:
    ids = sorted({n for c in categories if (n := whole_number(c.get("id"))) is not None})
    gaps = [range(low + 1, high) for low, high in pairwise(ids) if high > low + 1]
    if gaps:
        absent = [str(n) for gap in gaps for n in gap][:200]
        yield (
            f"ids of categories have gaps: {plural(len(ids), 'category', 'categories')} from {ids[0]} to "
            f"{ids[-1]}, without {few(absent, 10, counted=True)}; that is valid here, but a converter that "
            "writes such ids as class numbers makes classes that do not exist"
        )


def _roots(categories: list[Json], annotations: list[Json]) -> Iterator[str]:
    used = {key(a.get("category_id")) for a in annotations}
    parents = {fold_name(str(c["supercategory"])) for c in categories if c.get("supercategory")}
    roots = [
        str(c.get("name"))
        for c in categories
        if key(c.get("id")) not in used and fold_name(str(c.get("name"))) in parents
    ]
    if roots and len(roots) < len(categories):
        yield (
            f"{few([f'{name!r}' for name in roots])} {'is' if len(roots) == 1 else 'are'} the supercategory "
            "of others and has no box, as an export's root: it is no class"
        )


def _types(images: list[Json], annotations: list[Json], categories: list[Json]) -> Iterator[str]:
    """Numbers that are written as text, or as fractions, are read as what they mean."""
    fields = [
        ("images[].id", [i.get("id") for i in images]),
        ("categories[].id", [c.get("id") for c in categories]),
        *((f"annotations[].{name}", [a.get(name) for a in annotations])
          for name in ("image_id", "category_id", "iscrowd", "area")),
    ]  # fmt: skip
    whole = {"annotations[].area"}
    for name, values in fields:
        texts = [v for v in values if isinstance(v, str) and number(v) == number(v)]
        others = [v for v in values if isinstance(v, float) and name not in whole]
        for what, found in (("text", texts), ("fractions", others)):
            if found:
                yield (
                    f"{name} is written as {what} in {len(found)} of {len(values)} entries, such as "
                    f"{json.dumps(found[0])}; it is read as the number that it means"
                )


def _flags(annotations: list[Json]) -> Iterator[str]:
    flagged = sum(whole_number(a.get("iscrowd")) == 1 or a.get("iscrowd") is True for a in annotations)
    runs = [a for a in annotations if isinstance(a.get("segmentation"), dict)]
    polygons = sum(isinstance(a.get("segmentation"), list) and bool(a["segmentation"]) for a in annotations)
    if flagged:
        yield f"{flagged} of {plural(len(annotations), 'annotation')} are crowds (`iscrowd: 1`)"
    elif runs and polygons:
        yield (
            f"{len(runs)} of {len(annotations)} annotations have a run-length mask where others have "
            "polygons, and none is a crowd: in COCO these are the crowds, so a converter may have cleared "
            "`iscrowd`"
        )


def _annotation_ids(annotations: list[Json]) -> Iterator[str]:
    ids = Counter(str(a["id"]) for a in annotations if "id" in a)
    if doubled := [text for text, count in ids.items() if count > 1]:
        yield (
            f"{plural(len(doubled), 'id')} of annotations {'is' if len(doubled) == 1 else 'are'} used more "
            f"than once ({few(doubled)}); pycocotools would count these objects wrongly"
        )
    if any(whole_number(a.get("id")) == 0 for a in annotations):
        yield "an annotation has id 0, which pycocotools takes for no match; here it counts as any other"


def _listed_twice(images: list[Json]) -> Iterator[str]:
    names = Counter(str(i.get("file_name")) for i in images)
    if doubled := [name for name, count in names.items() if count > 1]:
        yield (
            f"{len(doubled)} of {plural(len(names), 'file name')} {'is' if len(doubled) == 1 else 'are'} "
            f"listed more than once ({few(doubled)})"
        )


def _without_boxes(annotations: list[Json]) -> Iterator[str]:
    without = sum(not a.get("bbox") for a in annotations)
    if without:
        yield (
            f"{without} of {plural(len(annotations), 'annotation')} have no `bbox`; where there is a polygon "
            "or mask, the box is taken from it"
        )
