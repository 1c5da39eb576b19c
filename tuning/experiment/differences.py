"""The differences between two experiments, key by key."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from tuning.experiment.dotted import dotted_leaves
from tuning.experiment.objective_list import FURTHER
from tuning.experiment.spec import NOT_IN_FILES, Experiment

_APART = NOT_IN_FILES - {FURTHER} | {"name"}
"""Keys that are not compared: the name has no effect on the trials."""


@dataclass(frozen=True)
class KeyDifference:
    """One dotted key, and its two values as text."""

    key: str
    was: str
    now: str

    def __str__(self) -> str:
        return f"{self.key}: {self.was} → {self.now}"


def find_differences(was: Experiment, now: Experiment) -> list[KeyDifference]:
    """Every key at which two experiments differ, except the name, in the order of the file's parts."""
    before, after = _keys(was), _keys(now)
    found = [
        KeyDifference(key, _shown(key, before), _shown(key, after))
        for key in {**before, **after}
        if not _same(key, before, after)
    ]
    old, new = was.space.names, now.space.names
    if old != new and set(old) == set(new):  # configurations are drawn in this order
        found.append(KeyDifference("order of space", ", ".join(old), ", ".join(new)))
    return found


def _keys(experiment: Experiment) -> dict[str, JsonValue]:
    values = experiment.model_dump(mode="json", exclude=_APART)
    further = values.pop(FURTHER)
    if not values["constraints"]:
        del values["constraints"]
    return dict(dotted_leaves(values)) | ({"further objectives": further} if further else {})


def _same(key: str, before: Mapping[str, JsonValue], after: Mapping[str, JsonValue]) -> bool:
    if key in before and key in after:
        return before[key] == after[key]
    # An absent part is null in one experiment and a mapping in the other; a setting of trials may be
    # null on purpose, with another default.
    return not key.startswith("trial.") and before.get(key) is None and after.get(key) is None


def _shown(key: str, values: Mapping[str, JsonValue]) -> str:
    if key not in values:
        return "not set"
    value = values[key]
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict):
        value = value[0]
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
