"""From a file and overrides to an `Experiment`, or to all of its faults at once."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path as FilePath
from typing import Any

from pydantic import JsonValue, ValidationError

from trainables.specs.data import DomainSpec
from tuning.experiment.checks.combinations import check_configurations
from tuning.experiment.checks.draft import Draft
from tuning.experiment.checks.parts import check_first, check_parts
from tuning.experiment.dotted import put
from tuning.experiment.faults import (
    MISSING,
    SET,
    FileError,
    Path,
    Violation,
    Where,
    closest,
    dotted,
    file_error,
    meant,
    shown,
    translate,
)
from tuning.experiment.overrides import apply_overrides, narrowed, still_inside
from tuning.experiment.paths import make_absolute
from tuning.experiment.sections.scheduler import SchedulerSpec
from tuning.experiment.settings import adapter_of, keys_of, setting, unknown
from tuning.experiment.space import Alternative, Space, as_list, listed_when
from tuning.experiment.spec import Experiment
from tuning.experiment.yaml_lines import Document

DOMAIN_KEYS = ("choice", "int", "float", "log", "step", "when")
PARTS = tuple(n for n in Experiment.model_fields if n not in ("trial", "space", "source_text"))
"""Parts of the file that are values of their own; `trial` and `space` are read by setting."""
_HINTS = {
    "name": "is missing: the experiment's name, such as name: pets",
    "task": "is missing; write task: detection or task: segmentation",
    "objective": "is missing: what to optimise, such as objective: {metric: dice}",
    "objective.metric": "is missing, such as metric: dice",
}
_LATER = "  whether the settings go together is checked once these are mended"


def shown_path(path: FilePath) -> str:
    """A path as one would type it: relative to the current folder if it lies below."""
    absolute, here = path.absolute(), FilePath.cwd()
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) else str(path)


class Reader:
    """Reads one document part by part, and gathers all that is wrong with it."""

    def __init__(self, file: FilePath, text: str, document: Document, overrides: Sequence[str]) -> None:
        self._file, self._text, self._document = file, text, document
        self._file_name = shown_path(file)
        self._misfits: list[Violation] = []
        self._places: dict[Path, Path] = {}
        """Where ("trial" or "space", dotted name) stands in the file."""
        if document.faults and document.value is None:
            raise file_error(self._file_name, document.faults)
        if not isinstance(document.value, dict):
            rule = "must be a mapping of keys such as name, task, objective"
            rule = (
                "is empty: it " + rule if document.value is None else f"{rule}, got {shown(document.value)}"
            )
            raise file_error(self._file_name, [FileError(1, "", rule)])
        self._touched = apply_overrides(document, overrides)
        self._new_space = any(override.partition("=")[0].strip() == "space" for override in overrides)

    def experiment(self) -> Experiment:
        """The experiment. Raises ExperimentFileError."""
        value: dict[str, Any] = dict(self._document.value)
        trial = self._trial(value.get("trial"), "trial" in value)
        space, written = self._space(value.get("space"), "space" in value, trial)
        value.pop("trial", None)
        value.pop("space", None)
        parts = self._parts(value)
        subject = Draft(**parts, trial=trial, space=space, written=written, touched=self._touched)
        first = [self._flat(params, space) for params in getattr(subject.search, "first", ())]
        outside = self._touched.union(*first) if self._new_space else self._touched
        subject.first = still_inside(first, space, trial, outside)
        self._misfits += check_parts(subject)
        wrong = [str(misfit.path[0]) for misfit in self._misfits]
        wrong += [re.split(r"[.\[]", fault.key)[0] for fault in self._document.faults]
        unsure = any(map(_touches_settings, wrong))
        if not unsure:
            self._misfits += check_first(subject)
            self._misfits += check_configurations(subject)
        faults = list(self._document.faults)
        unread = {(fault.where, fault.key) for fault in faults}
        faults += [f for m in self._misfits if ((f := self._fault(m)).where, f.key) not in unread]
        if faults:
            raise file_error(self._file_name, faults, _LATER if unsure and (trial or space) else "")
        return self._build(value, subject)

    def _build(self, value: dict[str, Any], subject: Draft) -> Experiment:
        nested: dict[str, Any] = {}
        for name, setting_value in subject.trial.items():
            put(nested, name.split("."), setting_value)
        if value.get("search", {}).get("first"):
            value["search"] = value["search"] | {"first": [subject.space.locate(p)[0] for p in subject.first]}
        document = value | {"trial": nested, "source_text": self._text}
        document["space"] = subject.space.model_dump(mode="json")
        return Experiment.model_validate_json(json.dumps(document))

    # --- parts --------------------------------------------------------------------------------

    def _parts(self, value: dict[str, Any]) -> dict[str, Any]:
        """Each part that is sound in itself. `value` is left with what makes an Experiment."""
        known = keys_of(Experiment)
        for key in [k for k in value if k not in PARTS]:
            del value[key]
            keys = [name for name in Experiment.model_fields if name not in ("ablation", "source_text")]
            rule = f"unknown key{meant(key, keys)}"
            if closest(key, keys) is None and setting(key) is not None:
                rule = (
                    f"unknown key; it is a setting of trials: write trial.{key}, or space.{key} to search it"
                )
            self._misfits.append(Violation((key,), rule))
        self._scheduler(value)
        make_absolute(value, self._base)
        self._drop_domains(value)
        domains = value["data"].get("domains") if isinstance(value.get("data"), dict) else None
        for name in domains if isinstance(domains, dict) else ():
            known |= keys_of(DomainSpec, ("data", "domains", name))
        found: dict[str, Any] = {}
        for name in PARTS:
            field = Experiment.model_fields[name]
            if name not in value:
                if field.is_required():
                    self._misfits.append(Violation((name,), MISSING))
                else:
                    found[name] = field.default
                continue
            below = {path[1:]: keys for path, keys in known.items() if path[:1] == (name,)}
            try:
                found[name] = adapter_of(field).validate_json(json.dumps(value[name]), strict=True)
            except ValidationError as error:
                self._misfits += [Violation((name, *m.path), m.rule) for m in translate(error, below)]
        return {name: part for name, part in found.items() if name in Draft.__dataclass_fields__}

    def _scheduler(self, value: dict[str, Any]) -> None:
        """The word none is a scheduler of nothing."""
        if "scheduler" not in value:
            return
        scheduler = value["scheduler"]
        if scheduler == "none":
            value["scheduler"] = {}
        elif not isinstance(scheduler, dict) or not any(v is not None for v in scheduler.values()):
            got = "" if scheduler == {} else f", got {shown(scheduler)}"
            known = " and ".join(SchedulerSpec.model_fields)
            rule = f"must be the word none or one of {known}, such as asha: {{grace_epochs: 1}}{got}"
            self._misfits.append(Violation(("scheduler",), rule))
            del value["scheduler"]

    def _base(self, path: Path) -> FilePath:
        """Paths are relative to the file, those of an override to the current folder."""
        return FilePath.cwd() if self._where(path) == SET else self._file.absolute().parent

    def _drop_domains(self, value: dict[str, Any]) -> None:
        """An override takes a domain out by setting it to null."""
        data = value.get("data")
        domains = data.get("domains") if isinstance(data, dict) else None
        if isinstance(data, dict) and isinstance(domains, dict):
            gone = [n for n, d in domains.items() if d is None and self._where(("data", "domains", n)) == SET]
            value["data"] = data | {"domains": {n: d for n, d in domains.items() if n not in gone}}

    # --- trial and space ----------------------------------------------------------------------

    def _trial(self, raw: Any, given: bool) -> dict[str, JsonValue]:
        found: dict[str, JsonValue] = {}
        for name, value, path in self._settings("trial", raw, given):
            known = setting(name)
            assert known is not None
            if misfits := known.misfits(value, path):
                self._misfits += misfits
            else:
                found[name] = value
        return found

    def _space(self, raw: Any, given: bool, trial: dict[str, JsonValue]) -> tuple[Space, frozenset[str]]:
        written: set[str] = set()
        sound: dict[str, tuple[Alternative, ...]] = {}
        for name, value, path in self._settings("space", raw, given):
            written.add(name)
            if isinstance(value, list) and value and not any(isinstance(item, dict) for item in value):
                self._misfits.append(
                    Violation(path, f"is a bare list; write {{choice: {json.dumps(value)}}}")
                )
                continue
            domains = [
                self._domain(d, path if d is value else (*path, i)) for i, d in enumerate(as_list(value))
            ]
            if isinstance(value, list) and not value:
                self._misfits.append(
                    Violation(path, "must hold at least one domain, such as {choice: [4, 8]}")
                )
            elif None not in domains:
                sound[name] = tuple(d for d in domains if d is not None)
        space = Space(sound)
        kept = narrowed(space, trial, self._touched)
        return kept, frozenset(written - (space.root.keys() - kept.root.keys()))

    def _domain(self, value: Any, path: Path) -> Alternative | None:
        if not isinstance(value, dict):
            self._misfits.append(
                Violation(
                    path,
                    "must be a domain such as {choice: [4, 8]}, {int: [1, 8]} or "
                    "{float: [1e-4, 1e-2], log: true}, "
                    f"got {shown(value)}; a fixed value goes under trial",
                )
            )
            return None
        value = {key: inner for key, inner in value.items() if inner is not None or key not in DOMAIN_KEYS}
        try:
            return Alternative.model_validate_json(json.dumps(listed_when(value)))
        except ValidationError as error:
            self._misfits += [
                Violation((*path, *m.path), m.rule) for m in translate(error, {(): DOMAIN_KEYS})
            ]
            return None

    def _settings(self, part: str, raw: Any, given: bool) -> Iterator[tuple[str, Any, Path]]:
        """Each setting below `trial` or `space`, nested or dotted: its name, its value, its place."""
        if not isinstance(raw, dict):
            if given:
                example = "{epochs: 5}" if part == "trial" else "{lora.rank: {choice: [4, 8]}}"
                self._misfits.append(
                    Violation((part,), f"must be a mapping such as {example}, got {shown(raw)}")
                )
            return
        for name, value, path in self._walk(part, raw, "", (part,)):
            if (part, name) in self._places:
                first = self._where(self._places[part, name])
                place = f"line {first}" if isinstance(first, int) else first
                self._misfits.append(Violation(path, f"is here twice, first in {place}; remove one"))
                continue
            self._places[part, name] = path
            yield name, value, path

    def _walk(
        self, part: str, raw: dict[str, Any], prefix: str, above: Path
    ) -> Iterator[tuple[str, Any, Path]]:
        for key, value in raw.items():
            name, path = prefix + key, (*above, key)
            known = setting(name)
            if known is None:
                self._misfits.append(Violation(path, unknown(name)))
            elif isinstance(value, dict) and self._goes_deeper(part, name, value):
                yield from self._walk(part, value, name + ".", path)
            else:
                yield name, value, path

    def _goes_deeper(self, part: str, name: str, value: dict[str, Any]) -> bool:
        known = setting(name)
        section = known is not None and bool(known.holds)
        if part == "trial":
            return section and bool(value)
        return (section or name == "peft.arguments") and not any(key in DOMAIN_KEYS for key in value)

    def _flat(self, params: dict[str, JsonValue], space: Space) -> dict[str, JsonValue]:
        """One of `search.first` by dotted names, which may be nested in the file."""
        found: dict[str, JsonValue] = {}
        for key, value in params.items():
            deeper = isinstance(value, dict) and any(name.startswith(key + ".") for name in space.root)
            if deeper and isinstance(value, dict):
                found |= {f"{key}.{inner}": v for inner, v in self._flat(value, _below(space, key)).items()}
            else:
                found[key] = value
        return found

    # --- faults -------------------------------------------------------------------------------

    def _fault(self, misfit: Violation) -> FileError:
        path = self._written(misfit.path)
        rule = misfit.rule
        key = dotted(_without_indices(path))
        if rule == MISSING:
            rule = _HINTS.get(key, rule)
        return FileError(self._where(path), key, rule)

    def _written(self, path: Path) -> Path:
        """A path of the plain values as the file writes it."""
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

    def _where(self, path: Path) -> Where:
        for length in range(len(path), -1, -1):
            if path[:length] in self._document.where:
                return self._document.where[path[:length]]
        return 1


def _touches_settings(key: str) -> bool:
    """Whether a fault at this key of the file may have hidden settings of trials."""
    return key not in PARTS and closest(key, Experiment.model_fields) not in PARTS


def _below(space: Space, section: str) -> Space:
    inside = {n.removeprefix(section + "."): d for n, d in space.root.items() if n.startswith(section + ".")}
    return Space(inside)


def _without_indices(path: Path) -> Path:
    """Without list positions at the end: the line says which item is meant, and the rule shows it."""
    while path and isinstance(path[-1], int) and path[0] != "space":
        path = path[:-1]
    while len(path) > 1 and isinstance(path[-1], int) and isinstance(path[-2], str):
        if path[-2] not in DOMAIN_KEYS and "when" not in path:
            break  # an alternative's number
        path = path[:-1]
    return path
