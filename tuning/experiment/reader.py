"""Building an `Experiment` from a document and overrides, or collecting all of its errors at once."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path as FilePath
from typing import Any

from pydantic import JsonValue, ValidationError

from trainables.specs.data import DomainSpec
from trainables.specs.trial import LOSS_WEIGHTS
from tuning.experiment.alternative import DOMAIN_KEYS, Alternative, as_list, listed_when
from tuning.experiment.checks.combinations import check_configurations
from tuning.experiment.checks.draft import Draft
from tuning.experiment.checks.sections import check_first, check_parts
from tuning.experiment.dotted import put_nested
from tuning.experiment.file_errors import (
    MISSING,
    SET,
    FileError,
    Location,
    Path,
    Violation,
    closest_name,
    describe_value,
    dotted_key,
    file_error,
    suggestion,
    translate_errors,
)
from tuning.experiment.objective_list import FURTHER, known_keys, path_in_file, take_apart
from tuning.experiment.overrides import apply_overrides, drop_first_outside, drop_groups_outside, narrow_space
from tuning.experiment.paths import make_absolute
from tuning.experiment.prior import Prior
from tuning.experiment.sections.scheduler import SchedulerSpec
from tuning.experiment.settings import field_type_adapter, find_setting, keys_of, unknown_setting
from tuning.experiment.space import Space
from tuning.experiment.spec import NOT_IN_FILES, Experiment
from tuning.experiment.yaml_lines import Document

PARTS = tuple(n for n in Experiment.model_fields if n not in NOT_IN_FILES | {"trial", "space"})
"""Parts of the file that are validated as a whole; `trial` and `space` are read setting by setting."""
_HINTS = {
    "name": "is missing; give the experiment a name, such as name: pets",
    "task": "is missing; write task: detection, task: segmentation or task: instance_segmentation",
    "objective": "is missing; name the metric to optimise, such as objective: {metric: dice}",
    "objective.metric": "is missing; name the metric to optimise, such as metric: dice",
}
_LATER = "  combinations of settings are checked once these errors are fixed"


def display_path(path: FilePath) -> str:
    """A path as a user would type it: relative to the current folder if it is inside."""
    absolute, here = path.absolute(), FilePath.cwd()
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) else str(path)


class Reader:
    """Reads one document part by part and collects all of its errors."""

    def __init__(self, file: FilePath, text: str, document: Document, overrides: Sequence[str]) -> None:
        self._file, self._text, self._document = file, text, document
        self._file_name = display_path(file)
        self._violations: list[Violation] = []
        self._places: dict[Path, Path] = {}
        """The path in the file of each ("trial" or "space", dotted name)."""
        if document.errors and document.value is None:
            raise file_error(self._file_name, document.errors)
        if not isinstance(document.value, dict):
            rule = "must be a mapping with keys such as name, task and objective"
            rule = (
                "is empty; it " + rule
                if document.value is None
                else f"{rule}, got {describe_value(document.value)}"
            )
            raise file_error(self._file_name, [FileError(1, "", rule)])
        self._touched = apply_overrides(document, overrides)
        self._new_space = any(override.partition("=")[0].strip() == "space" for override in overrides)

    def experiment(self, *, ran: bool = False) -> Experiment:
        """The experiment. Raises ExperimentFileError.

        ran: it has been run, so that its configurations are not checked again by rules that came later.
        """
        value: dict[str, Any] = dict(self._document.value)
        trial = self._trial(value.get("trial"), "trial" in value)
        space, written = self._space(value.get("space"), "space" in value, trial)
        value.pop("trial", None)
        value.pop("space", None)
        if "scheduler" in value:
            value["scheduler"] = drop_groups_outside(
                value["scheduler"], space, lambda name: self._new_space or name in self._touched
            )
        parts = self._parts(value)
        invalid = frozenset(str(name) for part, name in self._places if part == "trial") - trial.keys()
        draft = Draft(
            **parts, trial=trial, invalid=invalid, space=space, written=written, touched=self._touched
        )
        first = [self._flat(params, space) for params in getattr(draft.search, "first", ())]
        outside = self._touched.union(*first) if self._new_space else self._touched
        draft.first = drop_first_outside(first, space, trial, outside)
        self._violations += check_parts(draft)
        wrong = [str(violation.path[0]) for violation in self._violations]
        wrong += [re.split(r"[.\[]", error.key)[0] for error in self._document.errors]
        unsure = any(map(_touches_settings, wrong))
        if not unsure and not ran:
            self._violations += check_first(draft)
            self._violations += check_configurations(draft)
        errors = list(self._document.errors)
        unread = {(error.where, error.key) for error in errors}
        errors += [f for m in self._violations if ((f := self._file_error(m)).where, f.key) not in unread]
        if errors:
            raise file_error(self._file_name, errors, _LATER if unsure and (trial or space) else "")
        return self._build(value, draft)

    def _build(self, value: dict[str, Any], draft: Draft) -> Experiment:
        nested: dict[str, Any] = {}
        for name, setting_value in draft.trial.items():
            put_nested(nested, name.split("."), setting_value)
        if value.get("search", {}).get("first"):
            value["search"] = value["search"] | {"first": [draft.space.locate(p)[0] for p in draft.first]}
        document = value | {"trial": nested, "source_text": self._text}
        document["space"] = draft.space.model_dump(mode="json")
        return Experiment.model_validate_json(json.dumps(document))

    # --- parts --------------------------------------------------------------------------------

    def _parts(self, value: dict[str, Any]) -> dict[str, Any]:
        """Each part that is valid by itself. `value` keeps only the keys of an Experiment."""
        known: dict[Path, Sequence[str]] = dict(keys_of(Experiment))
        for key in [k for k in value if k not in PARTS]:
            del value[key]
            keys = [name for name in Experiment.model_fields if name not in NOT_IN_FILES | {"ablation"}]
            rule = f"unknown key{suggestion(key, keys)}"
            if closest_name(key, keys) is None and find_setting(key) is not None:
                rule = (
                    f"unknown key; it is a setting of trials: write trial.{key}, or space.{key} to search it"
                )
            self._violations.append(Violation((key,), rule))
        self._scheduler(value)
        self._violations += take_apart(value)
        make_absolute(value, self._base)
        self._drop_domains(value)
        domains = value["data"].get("domains") if isinstance(value.get("data"), dict) else None
        for name in domains if isinstance(domains, dict) else ():
            known |= keys_of(DomainSpec, ("data", "domains", name))
        known |= known_keys(value)
        found: dict[str, Any] = {}
        for name in (*PARTS, FURTHER):
            field = Experiment.model_fields[name]
            if name not in value:
                if field.is_required():
                    self._violations.append(Violation((name,), MISSING))
                else:
                    found[name] = field.get_default(call_default_factory=True)
                continue
            below = {path[1:]: keys for path, keys in known.items() if path[:1] == (name,)}
            try:
                found[name] = field_type_adapter(field).validate_json(json.dumps(value[name]), strict=True)
            except ValidationError as error:
                self._violations += [
                    Violation((name, *m.path), m.rule) for m in translate_errors(error, below)
                ]
        return {name: part for name, part in found.items() if name in Draft.__dataclass_fields__}

    def _scheduler(self, value: dict[str, Any]) -> None:
        """Replace the word none by a scheduler without a rule."""
        if "scheduler" not in value:
            return
        scheduler = value["scheduler"]
        if scheduler == "none":
            value["scheduler"] = {}
        elif not isinstance(scheduler, dict) or not any(v is not None for v in scheduler.values()):
            got = "" if scheduler == {} else f", got {describe_value(scheduler)}"
            *others, last = "none", *SchedulerSpec.model_fields
            rule = f"must be {', '.join(others)} or {last}, such as asha: {{grace_epochs: 1}}{got}"
            self._violations.append(Violation(("scheduler",), rule))
            del value["scheduler"]

    def _base(self, path: Path) -> FilePath:
        """The folder that a path is relative to: the file's, or the current one for an override."""
        return FilePath.cwd() if self._where(path) == SET else self._file.absolute().parent

    def _drop_domains(self, value: dict[str, Any]) -> None:
        """Remove the domains that an override has set to null."""
        data = value.get("data")
        domains = data.get("domains") if isinstance(data, dict) else None
        if isinstance(data, dict) and isinstance(domains, dict):
            gone = [n for n, d in domains.items() if d is None and self._where(("data", "domains", n)) == SET]
            value["data"] = data | {"domains": {n: d for n, d in domains.items() if n not in gone}}

    # --- trial and space ----------------------------------------------------------------------

    def _trial(self, raw: Any, given: bool) -> dict[str, JsonValue]:
        found: dict[str, JsonValue] = {}
        for name, value, path in self._settings("trial", raw, given):
            known = find_setting(name)
            assert known is not None
            if violations := known.violations(value, path):
                self._violations += violations
            else:
                found[name] = value
        return found

    def _space(self, raw: Any, given: bool, trial: dict[str, JsonValue]) -> tuple[Space, frozenset[str]]:
        written: set[str] = set()
        valid: dict[str, tuple[Alternative, ...]] = {}
        for name, value, path in self._settings("space", raw, given):
            written.add(name)
            if isinstance(value, list) and value and not any(isinstance(item, dict) for item in value):
                self._violations.append(
                    Violation(path, f"is a plain list; write {{choice: {json.dumps(value)}}}")
                )
                continue
            domains = [
                self._domain(d, path if d is value else (*path, i)) for i, d in enumerate(as_list(value))
            ]
            if isinstance(value, list) and not value:
                self._violations.append(
                    Violation(path, "must have at least one domain, such as {choice: [4, 8]}")
                )
            elif None not in domains:
                valid[name] = tuple(d for d in domains if d is not None)
        space = Space(valid)
        kept = narrow_space(space, trial, self._touched)
        return kept, frozenset(written - (space.root.keys() - kept.root.keys()))

    def _domain(self, value: Any, path: Path) -> Alternative | None:
        if not isinstance(value, dict):
            self._violations.append(
                Violation(
                    path,
                    "must be a domain such as {choice: [4, 8]}, {int: [1, 8]} or "
                    "{float: [1e-4, 1e-2], log: true}, "
                    f"got {describe_value(value)}; put a fixed value under trial",
                )
            )
            return None
        value = {key: inner for key, inner in value.items() if inner is not None or key not in DOMAIN_KEYS}
        try:
            return Alternative.model_validate_json(json.dumps(listed_when(value)))
        except ValidationError as error:
            self._violations += [
                Violation((*path, *v.path), v.rule) for v in _domain_violations(value, error)
            ]
            return None

    def _settings(self, part: str, raw: Any, given: bool) -> Iterator[tuple[str, Any, Path]]:
        """Each setting below `trial` or `space`, nested or dotted: its name, its value, its path."""
        if not isinstance(raw, dict):
            if given:
                example = "{epochs: 5}" if part == "trial" else "{lora.rank: {choice: [4, 8]}}"
                self._violations.append(
                    Violation((part,), f"must be a mapping such as {example}, got {describe_value(raw)}")
                )
            return
        for name, value, path in self._walk(part, raw, "", (part,)):
            if (part, name) in self._places:
                first = self._where(self._places[part, name])
                place = f"on line {first}" if isinstance(first, int) else f"in {first}"
                self._violations.append(Violation(path, f"is given twice, first {place}; remove one"))
                continue
            self._places[part, name] = path
            yield name, value, path

    def _walk(
        self, part: str, raw: dict[str, Any], prefix: str, above: Path
    ) -> Iterator[tuple[str, Any, Path]]:
        for key, value in raw.items():
            name, path = prefix + key, (*above, key)
            known = find_setting(name)
            if known is None:
                self._violations.append(Violation(path, unknown_setting(name)))
            elif isinstance(value, dict) and self._goes_deeper(part, name, value):
                yield from self._walk(part, value, name + ".", path)
            else:
                yield name, value, path

    def _goes_deeper(self, part: str, name: str, value: dict[str, Any]) -> bool:
        known = find_setting(name)
        if known is None:
            return False
        section = bool(known.holds)
        if part == "trial":
            # A class whose name has a dot has no dotted name, so it can only be given with all others.
            by_class = name == LOSS_WEIGHTS and not any("." in key for key in value)
            return (section or by_class) and bool(value)
        return (section or known.has_free_keys) and not any(key in DOMAIN_KEYS for key in value)

    def _flat(self, params: dict[str, JsonValue], space: Space) -> dict[str, JsonValue]:
        """One configuration of `search.first` by dotted names; the file may nest them."""
        found: dict[str, JsonValue] = {}
        for key, value in params.items():
            deeper = isinstance(value, dict) and any(name.startswith(key + ".") for name in space.root)
            if deeper and isinstance(value, dict):
                found |= {f"{key}.{inner}": v for inner, v in self._flat(value, _below(space, key)).items()}
            else:
                found[key] = value
        return found

    # --- errors -------------------------------------------------------------------------------

    def _file_error(self, violation: Violation) -> FileError:
        path = self._written(violation.path)
        rule = violation.rule
        key = dotted_key(_without_indices(path))
        if rule == MISSING:
            rule = _HINTS.get(key, rule)
        return FileError(self._where(path), key, rule)

    def _written(self, path: Path) -> Path:
        """The path in the file for a path of the plain values."""
        listed = isinstance(self._document.value.get("objective"), list)
        path = path_in_file(path, listed=listed)
        place = self._places.get(path[:2])
        if place is None:
            return path
        rest = path[2:]
        if path[0] == "space" and rest and isinstance(rest[0], int) and not self._is_list(place):
            rest = rest[1:]
        return (*place, *rest)

    def _is_list(self, path: Path) -> bool:
        node: Any = self._document.value
        for key in path:
            node = node[key]
        return isinstance(node, list)

    def _where(self, path: Path) -> Location:
        for length in range(len(path), -1, -1):
            if path[:length] in self._document.where:
                return self._document.where[path[:length]]
        return 1


def _domain_violations(value: dict[str, Any], error: ValidationError) -> list[Violation]:
    """All errors of a domain. pydantic checks bounds and steps together only if each key is valid by itself.

    So they are checked once more without the keys that are not.
    """
    known: dict[Path, Sequence[str]] = {(): DOMAIN_KEYS, ("prior",): tuple(Prior.model_fields)}
    found = translate_errors(error, known)
    wrong = {v.path[0] for v in found if v.path}
    rest = {key: inner for key, inner in value.items() if key not in wrong}
    if not wrong or wrong & {"choice", "int", "float"} or not rest.keys() & {"choice", "int", "float"}:
        return found
    try:
        Alternative.model_validate_json(json.dumps(listed_when(rest)))
    except ValidationError as more:
        found += translate_errors(more, known)
    return found


def _touches_settings(key: str) -> bool:
    """Whether an error at this key of the file may hide settings of trials."""
    return key not in PARTS and closest_name(key, Experiment.model_fields) not in PARTS


def _below(space: Space, section: str) -> Space:
    inside = {n.removeprefix(section + "."): d for n, d in space.root.items() if n.startswith(section + ".")}
    return Space(inside)


def _without_indices(path: Path) -> Path:
    """The path without list positions at the end: the line and the rule already show the item."""
    while path and isinstance(path[-1], int) and path[0] != "space":
        path = path[:-1]
    while len(path) > 1 and isinstance(path[-1], int) and isinstance(path[-2], str):
        if path[-2] not in DOMAIN_KEYS and "when" not in path:
            break  # the number of an alternative
        path = path[:-1]
    return path
