"""Shifted domains: where their images come from, and the splits that models are tested on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pydantic import JsonValue

from trainables.data.coco import coco_files, read_coco_parts
from trainables.data.content.identity import domain_content, domain_identity_by_content
from trainables.data.corruptions import CorruptedSplit
from trainables.data.digits import digits_identity, read_digits
from trainables.data.domain_parts import domain_parts
from trainables.data.formats.hub_masks import read_hub_masks
from trainables.data.formats.labelme import read_labelme_parts
from trainables.data.formats.voc import read_voc_parts
from trainables.data.formats.yolo import domain_parts_of, read_yolo_parts
from trainables.data.hub import hub_identity, read_hub_parts
from trainables.data.masks import mask_files, read_mask_parts
from trainables.data.prepared import Prepared, PreparedSplit, open_prepared
from trainables.data.sample import DataSource
from trainables.data.sources import sort_by_digest
from trainables.errors import DataError
from trainables.specs.data import DataSpec, DomainSpec, EmbeddedData, HubData, MaskData, Split
from trainables.specs.workload import Task, Workload

Parts = dict[Split, PreparedSplit]
"""A domain's test images, and its validation images if it has any."""


# --- sources ----------------------------------------------------------------------------------


def read_domain(
    name: str, domain: DomainSpec, data: DataSpec, task: Task, classes: Sequence[str]
) -> DataSource:
    """Read a domain that has its own images, with classes numbered by `classes`.

    Raises DataError if they cannot be read, have other classes, or do not fit the data.
    """
    source, given = data.source, domain_parts(name, domain)
    if domain.masks is not None and isinstance(source, MaskData):
        pairs = {s: (f"{at}.masks", part.masks) for s, (at, part) in given.items() if part.masks is not None}
        return DataSource(
            tuple(classes), read_mask_parts(pairs, source, classes, data.bits), source.background_class
        )
    if domain.coco is not None and data.coco is not None:
        files = {s: (f"{at}.coco", part.coco) for s, (at, part) in given.items() if part.coco is not None}
        masks, shapes = task.facts.masks, task.facts.instances
        return read_coco_parts(files, classes, data.bits, masks=masks, shapes=shapes)
    if domain.voc is not None and data.voc is not None:
        folders = {s: (f"{at}.voc", part.voc) for s, (at, part) in given.items() if part.voc is not None}
        return read_voc_parts(folders, data.voc, classes, data.bits)
    if domain.labelme is not None and data.labelme is not None:
        drawn = {s: (f"{at}.labelme", p.labelme) for s, (at, p) in given.items() if p.labelme is not None}
        return read_labelme_parts(drawn, data.labelme, classes, data.bits, masks=task.facts.masks)
    if domain.yolo is not None and data.yolo is not None:
        yolo = {s: (f"{at}.yolo", part.yolo) for s, (at, part) in given.items() if part.yolo is not None}
        return read_yolo_parts(domain_parts_of(yolo), classes, data.bits, masks=task.facts.masks)
    if domain.hub is not None and isinstance(source, HubData):
        named = {s: part.hub for s, (_, part) in given.items() if part.hub is not None}
        read = read_hub_masks if task.facts.masks else read_hub_parts
        return read(source, named, classes, f"data.domains.{name}.hub", data.bits)
    if domain.embedded is not None and isinstance(source, EmbeddedData):
        found = read_digits(source.model_copy(update={"domain": domain.embedded}), task)
        parts = {s: found.parts[s] for s in (Split.VALIDATION, Split.TEST)}
        return replace(found, parts=parts)
    raise DataError(f"data.domains.{name}: {data.unfit(domain)}")


def domain_identity(name: str, domain: DomainSpec, data: DataSpec) -> JsonValue:
    """All that the images of a domain depend on, without reading them. Raises DataError."""
    source, given = data.source, domain_parts(name, domain)
    if domain.masks is not None and isinstance(source, MaskData):
        rules = source.model_dump(mode="json", include={"classes", "values", "ignore"})
        files = {str(s): mask_files(p.masks, f"{at}.masks") for s, (at, p) in given.items() if p.masks}
        return {"masks": [rules, files]}
    if domain.coco is not None and data.coco is not None:
        return {"coco": {str(s): coco_files(p.coco, f"{at}.coco") for s, (at, p) in given.items() if p.coco}}
    if domain.hub is not None and isinstance(source, HubData):
        validation = domain.validation.hub if domain.validation is not None else None
        update = {"train": domain.hub, "validation": validation, "test": None}
        return {"hub": hub_identity(source.model_copy(update=update))}
    if domain.kind == data.kind and domain.kind in (
        "voc",
        "yolo",
        "labelme",
    ):  # no experiment of before has them
        return domain_identity_by_content(name, domain, data, domain_content(name, domain, data))
    if domain.embedded is not None and isinstance(source, EmbeddedData):
        return {"embedded": digits_identity(source.model_copy(update={"domain": domain.embedded}))}
    raise DataError(f"data.domains.{name}: {data.unfit(domain)}")


# --- prepared data ----------------------------------------------------------------------------


def training_part(split: PreparedSplit, data: DataSpec) -> PreparedSplit:
    """The share of the training images that trials use.

    Images are sorted by a digest of seed and name, and the first ones are taken: 10 % of
    them are a subset of 50 %. At least one image is left.
    """
    if data.train_fraction >= 1 or not len(split):
        return split
    count = max(1, round(data.train_fraction * len(split)))
    places: dict[str, list[int]] = {}
    for i, name in enumerate(split.names):
        places.setdefault(name, []).append(i)
    order = [i for name in sort_by_digest(places, f"{data.splits.seed}/fraction") for i in places[name]]
    return split.only(sorted(order[:count]))


def open_domain(prepared: Prepared, name: str, domain: DomainSpec) -> Parts | None:
    """A domain's splits; None if its images are not prepared alongside `prepared`."""
    if domain.corruption is not None:
        return {
            split: CorruptedSplit.of(prepared.splits[split], domain.corruption)
            for split in (Split.VALIDATION, Split.TEST)
        }
    if name not in prepared.domains:
        return None
    opened = open_prepared(prepared.domains[name])
    return {split: opened.splits[split] for split in (Split.VALIDATION, Split.TEST)}


def open_domains(prepared: Prepared, workload: Workload) -> dict[str, Parts]:
    """All domains of the workload. Raises DataError if one is not prepared."""
    found = {name: open_domain(prepared, name, domain) for name, domain in workload.data.domains.items()}
    absent = [name for name, parts in found.items() if parts is None]
    if absent:
        raise DataError(f"{prepared.path} has no images of domain {', '.join(absent)}; prepare again")
    return {name: parts for name, parts in found.items() if parts is not None}


def split_names(prepared: Prepared, workload: Workload) -> dict[str, JsonValue]:
    """The names of the images that a model is trained, validated and tested on, including domains.

    These are stored with an experiment, after dropping errors and applying `train_fraction`.
    """
    named: dict[str, JsonValue] = {
        str(split): list((training_part(part, workload.data) if split is Split.TRAIN else part).names)
        for split, part in prepared.splits.items()
    }
    if prepared.folds:
        named["folds"] = [list(open_prepared(at).splits[Split.VALIDATION].names) for at in prepared.folds]
    if workload.data.domains:
        named["domains"] = {
            name: {str(split): list(part.names) for split, part in parts.items()}
            for name, parts in open_domains(prepared, workload).items()
        }
    return named
