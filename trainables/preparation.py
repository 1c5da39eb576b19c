"""Prepares the data of a workload once, at the size of the model's images and at smaller ones if asked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trainables.data.domains import open_domain
from trainables.data.prepare import link_domains, link_folds, link_sizes, prepare_data, prepare_domain
from trainables.data.prepared import PreparedSplit, open_prepared
from trainables.errors import DataError
from trainables.image_sizes import size_of, smaller_sizes
from trainables.specs.data import DomainSpec, Split
from trainables.specs.job import Job
from trainables.specs.workload import Workload


def prepare_workload(
    workload: Workload, *, classes: Sequence[str] | None = None, progress: bool = False
) -> Path:
    """The folder of prepared data for `workload`, its domains, sizes and folds, made if it does not exist.

    classes: the names to number classes by, instead of the data's own order: those of a trained model.
    Raises ModelError if the processor cannot be read, DataError for errors in the data.
    """
    if workload.each_fold:
        folds = range(workload.data.splits.folds or 1)
        return link_folds(
            [prepare_workload(workload.at_fold(n), classes=classes, progress=progress) for n in folds]
        )
    if workload.smaller is not None:
        whole, *smaller = (
            prepare_workload(workload.at_size(size), classes=classes, progress=progress)
            for size in (None, *smaller_sizes(workload))
        )
        return link_sizes(whole, smaller)
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
