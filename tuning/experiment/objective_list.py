"""The key `objective` of a file, which holds one objective or a list of them."""

from __future__ import annotations

from typing import Any

from tuning.experiment.file_errors import Path, Violation
from tuning.experiment.sections.objectives import BoundSpec, FurtherObjective

FURTHER = "further"
"""The field of an experiment with the objectives after the first one."""


def take_apart(value: dict[str, Any]) -> list[Violation]:
    """Replace a list under `objective` by its first item, and put the others under `further`.

    An empty list is removed, so that the objective is missing.
    """
    listed = value.get("objective")
    if not isinstance(listed, list):
        return []
    if not listed:
        del value["objective"]
        return []
    value["objective"], value[FURTHER] = listed[0], [_without_rule(each) for each in listed[1:]]
    return [
        Violation(
            (FURTHER, place, "value"),
            "belongs to the first objective: all values of a trial are those of one report",
        )
        for place, each in enumerate(listed[1:])
        if isinstance(each, dict) and "value" in each
    ]


def put_together(document: dict[str, Any], further: list[Any]) -> None:
    """Write the objectives of a plain experiment back as the file has them."""
    if further:
        document["objective"] = [document["objective"], *further]


def path_in_file(path: Path, *, listed: bool) -> Path:
    """The path in the file for a path of the plain values. listed: whether `objective` is a list there."""
    if path[:1] == (FURTHER,) and path[1:]:
        return ("objective", *(part + 1 if isinstance(part, int) else part for part in path[1:]))
    return ("objective", 0, *path[1:]) if listed and path[:1] == ("objective",) and path[1:] else path


def known_keys(value: dict[str, Any]) -> dict[Path, list[str]]:
    """The keys that each further objective and each constraint may have, by their paths."""
    further, constraints = value.get(FURTHER), value.get("constraints")
    known: dict[Path, list[str]] = {}
    for place in range(len(further) if isinstance(further, list) else 0):
        known[FURTHER, place] = list(FurtherObjective.model_fields)
    for name in constraints if isinstance(constraints, dict) else ():
        known["constraints", name] = list(BoundSpec.model_fields)
    return known


def _without_rule(objective: Any) -> Any:
    if not isinstance(objective, dict):
        return objective
    return {key: value for key, value in objective.items() if key != "value"}
