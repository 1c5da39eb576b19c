"""Prepares a data set once: decoded, resized, checked, as memory-mapped Arrow in a cache.

The folder's name is a fingerprint of everything that the result depends on, so another process
or another sweep finds the prepared data there.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock

from trainables.data.check import Checked, StoredImage, check_image
from trainables.data.consistency import Seen, check_consistency
from trainables.data.content.by_definition import (
    identity_of_domain,
    identity_of_source,
    keep_content,
    require_unchanged,
)
from trainables.data.content.cache_folder import cache_root
from trainables.data.content.identity import domain_content, source_content
from trainables.data.copies import seen_copies, write_digests
from trainables.data.domains import read_domain
from trainables.data.faults import Finding, stop_message, stopping_findings
from trainables.data.formats.folder import given_data
from trainables.data.resize import Resize
from trainables.data.sample import DataPart, DataSource, Sample
from trainables.data.sources import check_disjoint, read_source
from trainables.data.stored_columns import INSTANCES, SCHEMA, SINGLE, VERSIONS
from trainables.data.stored_rows import write_split
from trainables.errors import DataError, StorageError
from trainables.progress import shown_progress
from trainables.run_folder import SPLITS
from trainables.specs.data import DomainSpec, FaultRule, Split
from trainables.specs.workload import Workload
from trainables.wording import plural


def fingerprint(workload: Workload, size: Resize, classes: Sequence[str] | None = None) -> str:
    """The name of the prepared data: a digest of source, task, splits, `faults`, size and stored format.

    It depends neither on the domains nor on the share of the training images that trials use.
    """
    splits = workload.data.splits
    depends = {
        "schema": schema_of(workload),
        "task": str(workload.task),
        "source": identity_of_source(workload),
        "splits": splits.model_dump(mode="json", exclude={"folds", "fold"} if splits.folds is None else None),
        "faults": workload.data.faults.model_dump(mode="json"),
        "size": size.model_dump(mode="json"),
    }
    depends |= reading_of(workload)
    return _digest(depends | ({"classes": list(classes)} if classes is not None else {}))


def schema_of(workload: Workload) -> int:
    """The version of the stored format: that of single precision for experiments that began with it."""
    if workload.task.facts.instances:
        return INSTANCES
    return SINGLE if workload.definitions.coco == 1 else SCHEMA


def reading_of(workload: Workload) -> dict[str, Any]:
    """Settings of how files are read, as far as they are set: without them, the fingerprint is as before."""
    data = given_data(workload).data
    given: dict[str, Any] = {"bits": data.bits}
    if data.masks is not None:
        given |= {"background": data.masks.background, "suffix": data.masks.suffix}
    return {key: value for key, value in given.items() if value is not None}


def prepare_data(
    workload: Workload, *, size: Resize, classes: Sequence[str] | None = None, progress: bool = False
) -> Path:
    """The folder of prepared data, made if it does not exist; concurrent processes make only one.

    classes: the names to number classes by, instead of the data's own order: those of a trained model.
    progress: show the progress, as a bar or as lines on stderr.
    Raises DataError for a source that cannot be read, or for errors with the rule to stop, listed by
    name; StorageError if the cache cannot be written. Neither leaves a folder behind.
    """
    name = fingerprint(workload, size, classes)

    def write(folder: Path) -> None:
        before = schema_of(workload) == SINGLE
        source = read_source(workload.given_data, workload.task, classes, before=before)
        needs, own = (Split.TRAIN, Split.VALIDATION), classes is None and workload.data.embedded is None
        _write(workload, source, size, folder, name, progress, needs=needs, own_classes=own)
        require_unchanged(fingerprint(workload, size, classes), name)
        keep_content(workload, folder, lambda: source_content(given_data(workload).data))

    return _made(name, write)


def prepare_domain(
    workload: Workload,
    name: str,
    domain: DomainSpec,
    classes: Sequence[str],
    *,
    size: Resize,
    progress: bool = False,
) -> Path:
    """Prepare a domain's own images like `prepare_data`; its parts are test, and validation if it has any.

    classes: those of the data. Error messages begin with the domain's name.
    """

    def print_of() -> str:
        depends = {
            "schema": schema_of(workload),
            "task": str(workload.task),
            "domain": identity_of_domain(workload, name, domain),
            "classes": list(classes),
            "faults": workload.data.faults.model_dump(mode="json"),
            "size": size.model_dump(mode="json"),
        } | reading_of(workload)
        return _digest(depends)

    try:
        key = print_of()

        def write(folder: Path) -> None:
            source = read_domain(name, domain, given_data(workload).data, workload.task, classes)
            _write(workload, source, size, folder, key, progress, needs=tuple(source.parts))
            require_unchanged(print_of(), key)
            keep_content(workload, folder, lambda: domain_content(name, domain, given_data(workload).data))

        return _made(key, write)
    except DataError as error:
        text, at = str(error), f"data.domains.{name}"
        raise DataError(text if text.startswith(at) else f"{at}: {text}") from error


def link_domains(workload: Workload, images: Path, domains: Mapping[str, Path]) -> Path:
    """A folder that links prepared data with the prepared domains, by their names.

    It holds no images: a reader gets `images`, with the same fingerprint, and `domains`.
    Raises DataError if a domain has images that are used for training or validation.
    """
    folders = {name: folder.name for name, folder in domains.items()}

    def write(folder: Path) -> None:
        _not_seen_before(workload, domains)
        meta = json.loads((images / "meta.json").read_text(encoding="utf-8"))
        held = {n: json.loads((p / "meta.json").read_text(encoding="utf-8")) for n, p in domains.items()}
        found = [
            finding | {"split": f"{finding['split']}@{n}"}
            for n, of in held.items()
            for finding in of["faults"]
        ]
        meta |= {"images": images.name, "domains": folders, "faults": meta["faults"] + found}
        meta["warnings"] = [
            *meta.get("warnings", []),
            *(f"domain {n}: {warning}" for n, of in held.items() for warning in of.get("warnings", [])),
            *seen_copies(images, {n: p for n, p in domains.items() if n in _own_images(workload)}),
        ]
        meta["domain_counts"] = {n: {s: c for s, c in of["counts"].items() if c} for n, of in held.items()}
        with _storage(folder.parent):
            shutil.copyfile(images / SPLITS, folder / SPLITS)
            (folder / "meta.json").write_text(json.dumps(meta, indent=1), encoding="utf-8")

    return _made(_digest({"images": images.name, "domains": folders}), write)


def link_sizes(images: Path, smaller: Sequence[Path]) -> Path:
    """A folder that links prepared data, and their domains, with the same images at smaller sizes.

    smaller: their folders, from the smallest size on. Raises DataError if not all sizes have all images.
    """
    meta = json.loads((images / "meta.json").read_text(encoding="utf-8"))
    for folder in smaller:
        other = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        if (was := meta["counts"]) != (now := other["counts"]):
            raise DataError(
                f"{folder} has other images than {images}: at the size {other['size']} of"
                f" scheduler.asha.fidelity {now} can be used, and {was} at the model's own; use larger sizes"
            )
    return _linked(images, "smaller", smaller)


def link_folds(folds: Sequence[Path]) -> Path:
    """A folder that links the prepared data of all folds; a reader gets those of the first one."""
    return _linked(folds[0], "folds", folds)


def _linked(images: Path, kind: str, folders: Sequence[Path]) -> Path:
    named = {kind: [folder.name for folder in folders]}

    def write(folder: Path) -> None:
        meta = json.loads((images / "meta.json").read_text(encoding="utf-8"))
        with _storage(folder.parent):
            shutil.copyfile(images / SPLITS, folder / SPLITS)
            linked = json.dumps({"images": images.name} | meta | named, indent=1)
            (folder / "meta.json").write_text(linked, encoding="utf-8")

    return _made(_digest({"images": images.name} | named), write)


def _digest(depends: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:20]


def _own_images(workload: Workload) -> dict[str, DomainSpec]:
    # Embedded domains show the same scenes as the data.
    return {name: of for name, of in workload.data.domains.items() if of.kind != "embedded"}


def _not_seen_before(workload: Workload, domains: Mapping[str, Path]) -> None:
    own = {n: d for n, d in _own_images(workload).items() if n in domains}
    if not own:
        return
    source = read_source(given_data(workload).data, workload.task, before=schema_of(workload) == SINGLE)
    seen = {str(split): source.parts[split] for split in (Split.TRAIN, Split.VALIDATION)}
    for name, domain in own.items():
        parts = read_domain(name, domain, given_data(workload).data, workload.task, source.classes).parts
        for split, part in parts.items():
            check_disjoint(seen | {f"{split} of domain {name}": part})


def _made(name: str, write: Callable[[Path], None]) -> Path:
    """The folder `name` in the cache, written by `write` if it does not exist."""
    root = cache_root() / "prepared"
    final, temporary = root / name, root / f".{name}.tmp"
    if (final / "meta.json").is_file():
        return final
    with _storage(root):
        root.mkdir(parents=True, exist_ok=True)
        lock = FileLock(root / f".{name}.lock")
        lock.acquire()
    try:
        if (final / "meta.json").is_file():
            return final
        with _storage(root):
            for leftover in (temporary, final):  # of a process that was killed
                if leftover.exists():
                    shutil.rmtree(leftover)
            temporary.mkdir()
        write(temporary)
        with _storage(root):
            os.replace(temporary, final)
        return final
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        lock.release()


def _write(
    workload: Workload,
    source: DataSource,
    size: Resize,
    folder: Path,
    name: str,
    progress: bool,
    *,
    needs: Sequence[Split],
    own_classes: bool = False,
) -> None:
    """Write all splits. needs: those that must not be empty.  own_classes: see `check_consistency`."""
    findings: list[Finding] = []
    counts: dict[str, int] = {}
    boxes: dict[str, int] = {}
    crowds: dict[str, int] = {}
    seen = {split: Seen() for split in Split}
    schema = schema_of(workload)
    total = sum(len(part.samples) for part in source.parts.values())
    keep_empty = workload.data.faults.empty_mask is FaultRule.KEEP
    bar = shown_progress("preparing data", total) if progress else nullcontext(lambda: None)
    with bar as advance, ThreadPoolExecutor(_workers()) as pool:
        for split in Split:
            part = source.parts.get(split, DataPart([]))
            findings += part.faults
            work = partial(
                check_image,
                split=split,
                classes=source.classes,
                task=workload.task,
                size=size,
                background=source.classes.index(source.background) if source.background is not None else 0,
                keep_empty=keep_empty,
                single=schema == SINGLE,
            )
            rows = _rows(ahead(pool, work, part.samples), findings, seen[split], advance)
            with _storage(folder.parent):
                counts[split], boxes[split], crowds[split] = write_split(
                    folder / f"{split}.arrow", rows, VERSIONS[schema]
                )
    bits = workload.data.bits
    warnings = check_consistency(source, seen, bits=bits, corners=source.corners, own_classes=own_classes)
    stops = stopping_findings(findings, workload.data.faults)
    if stops:
        raise DataError(stop_message(stops))
    check_counts(workload, source, counts, boxes, findings, needs)
    meta = {
        "schema": schema,
        "fingerprint": name,
        "task": str(workload.task),
        "classes": list(source.classes),
        "size": size.model_dump(mode="json", exclude_none=True),
        "counts": counts,
        "boxes": boxes,
        "crowds": crowds,
        "warnings": warnings,
        "faults": [finding.record() for finding in findings],
    }
    splits = {str(split): [s.name for s in part.samples] for split, part in source.parts.items()}
    with _storage(folder.parent):
        write_digests(folder, {split: [e.digest for e in part.evidence] for split, part in seen.items()})
        # meta.json is written last: a folder that has it is complete.
        (folder / SPLITS).write_text(json.dumps(splits, indent=1), encoding="utf-8")
        (folder / "meta.json").write_text(json.dumps(meta, indent=1), encoding="utf-8")


def _rows(
    results: Iterable[Checked], findings: list[Finding], seen: Seen, advance: Callable[[], None]
) -> Iterator[StoredImage]:
    """Yield the rows among `results`; their errors are added to `findings`, what they say to `seen`."""
    for checked in results:
        advance()
        findings.extend(checked.findings)
        if checked.row is not None:
            if checked.evidence is not None:
                seen.add(checked.row.name, checked.evidence)
            yield checked.row


def check_counts(
    workload: Workload,
    source: DataSource,
    counts: dict[str, int],
    boxes: dict[str, int],
    findings: Sequence[Finding],
    needs: Sequence[Split],
) -> None:
    """Refuse a data set that cannot be used for training or evaluation."""
    lost = f"; {plural(len(findings), 'error')} found:\n{_listed(findings)}" if findings else ""
    for split in needs:
        if not counts[split]:
            raise DataError(
                f"{split} must have images, but none of its {len(source.parts[split].samples)} is left{lost}"
            )
        if workload.task.facts.boxes and not boxes[split]:
            raise DataError(f"{split} must have boxes, but none is left{lost}")


def _listed(findings: Sequence[Finding]) -> str:
    lines = [f"  {f.split}  {f.name}  {f.fault}: {f.detail}" for f in findings[:20]]
    return "\n".join(lines + (["  …"] if len(findings) > 20 else []))


def ahead(
    pool: ThreadPoolExecutor, work: Callable[[Sample], Checked], samples: Iterable[Sample]
) -> Iterator[Checked]:
    """Yield results in order, with only a few images in progress or waiting."""
    waiting: deque[Future[Checked]] = deque()
    window = 4 * _workers()
    try:
        for sample in samples:
            waiting.append(pool.submit(work, sample))
            if len(waiting) >= window:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def _workers() -> int:
    """The number of threads: Pillow decodes and resizes without the GIL, so threads are enough."""
    able = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(8, able)


@contextmanager
def _storage(root: Path) -> Iterator[None]:
    """Convert an OSError inside, caused by a full or read-only disk, to a StorageError."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"prepared data must be written to {root}, but that failed: {error.strerror or error}; "
            "free space there, or point ADAPTERTUNE_CACHE at another folder"
        ) from error
