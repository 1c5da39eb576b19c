"""What prepared data depend on, by the definition of the fingerprint that an experiment began with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pydantic import JsonValue

from trainables.data.content.identity import (
    Content,
    domain_content,
    domain_identity_by_content,
    source_content,
    source_identity_by_content,
    write_manifest,
)
from trainables.data.domains import domain_identity
from trainables.data.formats.folder import given_data
from trainables.data.sources import source_identity
from trainables.errors import DataError
from trainables.specs.data import DomainSpec
from trainables.specs.workload import Workload


def identity_of_source(workload: Workload) -> JsonValue:
    """What the images of the workload depend on; errors as `source_content`."""
    data = given_data(workload).data
    if not workload.definitions.by_content or data.embedded is not None:  # drawn from its settings
        return source_identity(data)
    return source_identity_by_content(data, source_content(data))


def identity_of_domain(workload: Workload, name: str, domain: DomainSpec) -> JsonValue:
    """What a domain's own images depend on."""
    data = given_data(workload).data
    if not workload.definitions.by_content or domain.embedded is not None:
        return domain_identity(name, domain, data)
    return domain_identity_by_content(name, domain, data, domain_content(name, domain, data))


def require_unchanged(now: str, name: str) -> None:
    """Refuse data that changed while they were prepared: the result would bear another content's name."""
    if now != name:
        raise DataError(
            "files of the data changed while they were prepared; wait until they are complete,"
            " then start again"
        )


def keep_content(workload: Workload, folder: Path, content: Callable[[], Content]) -> None:
    """Keep the digests of the files with the prepared data in `folder`, if content counts."""
    if workload.definitions.by_content:
        write_manifest(folder, content())
