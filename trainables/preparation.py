"""Prepares the data of a workload: reads the processor's sizes, then prepares the data once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainables.backbones import local_folder
from trainables.data.domains import open_domain
from trainables.data.prepare import link_domains, prepare_data, prepare_domain
from trainables.data.prepared import PreparedSplit, open_prepared
from trainables.data.resize import Resize
from trainables.errors import DataError
from trainables.specs.data import DomainSpec, Split
from trainables.specs.job import Job
from trainables.specs.workload import ModelSpec, Task, Workload

_BILINEAR = 2
"""Pillow's number of the interpolation."""


def prepare_workload(
    workload: Workload, *, classes: Sequence[str] | None = None, progress: bool = False
) -> Path:
    """The folder of prepared data for `workload` and its domains, made if it does not exist.

    classes: the names to number classes by, instead of the data's own order: those of a trained model.
    Raises ModelError if the processor cannot be read, DataError for errors in the data.
    """
    size = size_of(workload)
    images = prepare_data(workload, size=size, classes=classes, progress=progress)
    own = {name: domain for name, domain in workload.data.domains.items() if domain.corruption is None}
    if not own:
        return images
    known = open_prepared(images).classes
    folders = {
        name: prepare_domain(workload, name, domain, known, size=size, progress=progress)
        for name, domain in own.items()
    }
    return link_domains(workload, images, folders)


def prepared_here(job: Job) -> Path:
    """The data of a job in this node's own cache, for a node that lacks the folder `job.prepared`.

    Raises the errors of `prepare_workload`, and DataError if files differ on this node.
    """
    found = prepare_workload(job.workload)
    if found.name != job.prepared.name:
        how = (
            "files, their names or their content differ; copy the driver's files to this node"
            if job.workload.definitions.by_content
            else "files, sizes or modification times differ; copy the files with their times"
        )
        raise DataError(
            f"the data here (fingerprint {found.name}) must be the data that the sweep started with"
            f" ({job.prepared.name}): {how}, or put ADAPTERTUNE_CACHE on a file system that every node mounts"
        )
    return found


def domain_split(
    prepared: Path, workload: Workload, domain: str | DomainSpec, split: Split = Split.TEST
) -> PreparedSplit:
    """The images of one of the workload's domains, by its name, or of another domain, which is prepared here.

    Raises DataError if there is no such domain, or it has no images for `split`.
    """
    data = open_prepared(prepared)
    named = isinstance(domain, str)
    spec = workload.data.domains.get(domain) if isinstance(domain, str) else domain
    if spec is None:
        has = ", ".join(workload.data.domains) or "none"
        raise DataError(f"there is no domain '{domain}'; the data has {has}")
    name = domain if isinstance(domain, str) else spec.kind
    parts = open_domain(data, name, spec) if named or spec.corruption is not None else None
    if parts is None:
        size = size_of(workload)
        folder = prepare_domain(workload, name, spec, data.classes, size=size)
        parts = open_prepared(folder).splits
    if not len(parts[split]):
        raise DataError(f"domain {name} has no {split} images")
    return parts[split]


def size_of(workload: Workload) -> Resize:
    """The size that the workload's images are resized to. Raises ModelError."""
    found = _plain_size(workload.model, workload.task)
    if found is None:
        from trainables.tasks.registry import resize_of

        found = resize_of(workload.model, workload.task)
    return found.defined(workload.definitions.pixels)


def _plain_size(model: ModelSpec, task: Task) -> Resize | None:
    """The fixed size in a local folder's settings; None if reading the size needs transformers.

    So a driver need not import transformers, which takes longer than the rest of its start.
    """
    folder = local_folder(model.name, task)
    config, processor = _settings(folder / "config.json"), _settings(folder / "preprocessor_config.json")
    plain = task.facts.plain
    if (
        plain is None
        or config.get("model_type") != plain.model_type
        or processor.get("image_processor_type") not in plain.processors
        or processor.get("resample", _BILINEAR) != _BILINEAR
    ):
        return None
    size = processor.get("size")
    if model.image_size is not None:
        height, width = model.image_size
    elif (
        processor.get("do_resize") is True
        and not processor.get("do_center_crop")
        and isinstance(size, dict)
        and set(size) == {"height", "width"}
        and all(isinstance(side, int) for side in size.values())
    ):
        height, width = size["height"], size["width"]
    else:
        return None
    patch = config.get("patch_size")
    if plain.whole_patches and (not isinstance(patch, int) or height % patch or width % patch):
        return None
    return Resize.fixed(height, width)


def _settings(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
