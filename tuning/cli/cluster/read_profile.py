"""Reading a profile from its YAML file, or reporting all of its errors at once."""

from __future__ import annotations

import json
from pathlib import Path as FilePath
from typing import Any

from pydantic import ValidationError

from cluster.manifests.spec import PROFILES, Profile, keys_of_profile
from tuning.experiment.file_errors import (
    FileError,
    Path,
    Violation,
    describe_value,
    dotted_key,
    file_error,
    read_text,
    suggestion,
    translate_errors,
)
from tuning.experiment.reader import display_path
from tuning.experiment.yaml_lines import Document, read_yaml


def read_profile(file: FilePath) -> Profile:
    """The profile of a file. Raises ExperimentFileError with every error, each with its line and key."""
    title = display_path(file)
    document = read_yaml(read_text(file, title))
    if not document.errors and not isinstance(document.value, dict):
        rule = "must be a mapping with keys such as scheduler, nodes and cpus"
        got = f", got {describe_value(document.value)}"
        document.errors.append(FileError(1, "", rule + got))
    if not isinstance(document.value, dict):
        raise file_error(title, document.errors)
    profile, violations = _profile(document.value)
    errors = [*document.errors, *(_located(document, violation) for violation in violations)]
    if errors or profile is None:
        raise file_error(title, errors)
    return profile


def _profile(value: dict[str, Any]) -> tuple[Profile | None, list[Violation]]:
    scheduler = value.get("scheduler")
    kind = PROFILES.get(scheduler) if isinstance(scheduler, str) else None
    if kind is None:
        *some, last = PROFILES
        got = f", got {describe_value(scheduler)}{suggestion(scheduler, PROFILES)}" if scheduler else ""
        return None, [Violation(("scheduler",), f"must be {', '.join(some)} or {last}{got}")]
    try:
        return kind.model_validate_json(json.dumps(value)), []
    except ValidationError as error:
        found = translate_errors(error, {(): keys_of_profile(str(scheduler))})
        return None, [_of_another(violation, str(scheduler)) for violation in found]


def _of_another(violation: Violation, scheduler: str) -> Violation:
    """Says so if an unknown key is one of another scheduler's profiles."""
    key = violation.path[0] if violation.path else None
    if not violation.rule.startswith("unknown key") or len(violation.path) != 1:
        return violation
    others = [name for name in PROFILES if key in keys_of_profile(name)]
    if not others:
        return violation
    return Violation(violation.path, f"is a key of {' and '.join(others)}, not of {scheduler}; remove it")


def _located(document: Document, violation: Violation) -> FileError:
    path: Path = violation.path
    while path and path not in document.where:
        path = path[:-1]
    return FileError(document.where.get(path, 1), dotted_key(violation.path), violation.rule)
