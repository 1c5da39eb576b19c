"""Whether prepared data are those that a sweep began with."""

from __future__ import annotations

import filecmp
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trainables.errors import DataError
from trainables.run_folder import SPLITS
from trainables.specs.data import Split
from trainables.wording import counts_in_words
from tuning.experiment.spec import Experiment
from tuning.ledger.records import PreparedRecord

SHOWN = 10
"""The most differing files that a message names."""


def read_meta(prepared: Path) -> dict[str, Any]:
    """What is known of a folder of prepared data; empty if it says nothing."""
    file = prepared / "meta.json"
    meta: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return meta


def fingerprint_of(prepared: Path, meta: Mapping[str, Any]) -> str:
    """The name of the images' content."""
    return str(meta.get("fingerprint", prepared.name))


def domain_fingerprints(meta: Mapping[str, Any]) -> dict[str, str]:
    """The same for the domains that have images of their own."""
    return {str(name): str(folder) for name, folder in meta.get("domains", {}).items()}


def require_same_data(
    before: PreparedRecord, prepared: Path, experiment: Experiment, folder: Path, *, moved: bool
) -> str | None:
    """Raise DataError if `prepared` is not the data of `before`; return what the user should know, if any.

    folder: the experiment's.  moved: whether the user has said that data are at another place.
    """
    meta = read_meta(prepared)
    _require_domain_names(before, meta, prepared, experiment, folder)
    differing = list(_differing(before, prepared, meta))
    if not differing:
        return _require_same_reading(before, meta, prepared, experiment)
    if not experiment.definitions.by_content:
        cached = [_same_prepared(prepared.parent, was, now) for _, was, now in differing]
        if all(cached):
            return "files have other times or another place; all prepared images are equal to those before"
        if moved and None in cached and False not in cached and _same_names(folder, meta, prepared, before):
            return (
                f"{experiment.name} was recorded before content was part of the fingerprint, and its prepared"
                " data are no longer in the cache: only names and numbers of images and classes were compared"
            )
    raise DataError(_refusal(differing, prepared, experiment))


def _differing(
    before: PreparedRecord, prepared: Path, meta: Mapping[str, Any]
) -> Iterator[tuple[str | None, str, str]]:
    """Yield (domain or None, fingerprint before, fingerprint now)."""
    if before.fingerprint != (now := fingerprint_of(prepared, meta)):
        yield None, before.fingerprint, now
    held = domain_fingerprints(meta)
    for name, was in before.domains.items():
        if held.get(name) != was:
            yield name, was, held.get(name, "none")


def _require_same_reading(
    before: PreparedRecord, meta: Mapping[str, Any], prepared: Path, experiment: Experiment
) -> str | None:
    """Compare data of one fingerprint, which may have been prepared anew by a version with other readers."""
    if said := recorded_otherwise(before, meta):
        raise DataError(
            f"{experiment.name} was launched with data of this fingerprint ({before.fingerprint}), but this"
            f" version of adaptertune reads them differently: {'; '.join(said)}; restore the folder"
            f" {prepared} of then, or launch a new experiment"
        )
    # The version that changed the readers was the first to count crowds. Boxes were counted long before, but
    # recorded only later, so a record without them says nothing about who prepared the data.
    if experiment.data.kind == "embedded" or before.crowds or "crowds" not in meta:
        return None
    lacking = "crowds" if before.boxes else "boxes"
    return (
        f"the data of {experiment.name} were prepared anew, by a version of adaptertune that reads some files"
        f" differently; what is recorded of them is the same, but {lacking} and masks were not"
        " recorded then and cannot be compared"
    )


def recorded_otherwise(before: PreparedRecord, meta: Mapping[str, Any]) -> list[str]:
    """How prepared data differ from what was recorded of them, in words; empty where nothing differs.

    What either does not say is not compared: records of before have no boxes.
    """
    said = []
    for noun, was, now in (
        ("images", before.counts, meta.get("counts")),
        ("boxes", before.boxes, meta.get("boxes")),
        ("crowds", before.crowds, meta.get("crowds")),
    ):
        if was and now and was != now:
            said.append(f"{noun} were {counts_in_words(was)}, now {counts_in_words(now)}")
    classes = meta.get("classes")
    if before.classes and classes and before.classes != classes:
        said.append(f"classes were {', '.join(before.classes)}, now {', '.join(classes)}")
    faults = meta.get("faults")
    if faults is not None and len(before.faults) != len(faults):
        said.append(f"faults were {len(before.faults)}, now {len(faults)}")
    return said


def _same_prepared(cache: Path, was: str, now: str) -> bool | None:
    """Whether both folders in the cache hold the same images and classes; None if one is not there."""
    one, other = cache / was, cache / now
    if not all((place / "meta.json").is_file() for place in (one, other)):
        return None
    if any(read_meta(one).get(key) != read_meta(other).get(key) for key in ("classes", "size", "task")):
        return False
    return all(filecmp.cmp(one / f"{s}.arrow", other / f"{s}.arrow", shallow=False) for s in Split)


def _same_names(folder: Path, meta: Mapping[str, Any], prepared: Path, before: PreparedRecord) -> bool:
    """Whether the images of each split have the names that the experiment has stored."""
    if not (stored := _stored_names(folder)):
        return False
    domains, named = domain_fingerprints(meta), stored_domains(folder)
    whole = json.loads((prepared / SPLITS).read_text(encoding="utf-8"))
    return (
        not recorded_otherwise(before, meta)
        # Those of a smaller share of the training images, and without images that were dropped.
        and all(set(stored[split]) <= set(whole[split]) for split in Split)
        and all(n in named and _same_images(named[n], prepared.parent / at) for n, at in domains.items())
    )


def stored_domains(folder: Path) -> dict[str, dict[str, list[str]]]:
    """The names of each domain's images by split, as stored with the experiment in `folder`."""
    found: dict[str, dict[str, list[str]]] = _stored_names(folder).get("domains", {})
    return found


def _stored_names(folder: Path) -> dict[str, Any]:
    """The names of the images by split, and of the domains' images; empty before they are stored."""
    file = folder / SPLITS
    names: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return names


def _require_domain_names(
    before: PreparedRecord, meta: Mapping[str, Any], prepared: Path, experiment: Experiment, folder: Path
) -> None:
    """Compare domains without a recorded fingerprint, as in records of before, by the names of their images.

    Raises DataError if they differ. Names that were not stored are not compared.
    """
    named = stored_domains(folder)
    for name, at in domain_fingerprints(meta).items():
        if name in before.domains or name not in named or _same_images(named[name], prepared.parent / at):
            continue
        raise DataError(
            f"{experiment.name} was launched with other images in domain {name}: the names in"
            f" {folder / SPLITS} are not those of its images now; restore the files, or launch a new"
            " experiment"
        )


def _same_images(named: Mapping[str, list[str]], prepared: Path) -> bool:
    """Whether the prepared images of each split have these names."""
    from trainables.data.prepared import open_prepared

    splits = open_prepared(prepared).splits
    return all(sorted(names) == sorted(splits[Split(split)].names) for split, names in named.items())


def _refusal(differing: list[tuple[str | None, str, str]], prepared: Path, experiment: Experiment) -> str:
    domain, was, now = differing[0]
    which = "" if domain is None else f" in domain {domain}"
    said = f"{experiment.name} was launched with other data{which} (fingerprint {was}, now {now})"
    if not experiment.definitions.by_content:
        return (
            f"{said}: files, their sizes or their modification times have changed, or this version of"
            " adaptertune prepares them differently; restore the files, or launch a new experiment. If the"
            " files have the same content, `adaptertune resume NAME --move-data DATA=DATA`, with their folder"
            " as DATA, compares names and numbers instead"
        )
    named = [line for name, old, _ in differing for line in _named(name, old, prepared, experiment)]
    if not named:
        return (
            f"{said}: files have another content or other names, or this version of adaptertune prepares"
            " them differently; restore the files, or launch a new experiment"
        )
    more = f"\n  … and {len(named) - SHOWN} more" if len(named) > SHOWN else ""
    listed = "".join(f"\n  {line}" for line in named[:SHOWN])
    return f"{said}; restore these files, or launch a new experiment:{listed}{more}"


def _named(domain: str | None, was: str, prepared: Path, experiment: Experiment) -> list[str]:
    """The files that differ, if the data before are still in the cache."""
    from trainables.data.content.identity import differing_files, domain_content, source_content
    from trainables.data.formats.folder import given_data

    data = given_data(experiment.workload).data
    if domain is None:
        return differing_files(prepared.parent / was, source_content(data)) or []
    if domain not in data.domains:
        return []
    content = domain_content(domain, data.domains[domain], data)
    return [f"{domain}: {line}" for line in differing_files(prepared.parent / was, content) or []]
