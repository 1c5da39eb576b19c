"""How the data's class names are found among those of a checkpoint's head."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from trainables.data.sample import spelled_otherwise
from trainables.errors import ModelError
from trainables.specs.heads import HeadSource
from trainables.specs.workload import ModelSpec
from trainables.wording import few, plural


def head_source(order: Sequence[int] | None, count: int) -> HeadSource:
    """The origin of a head. order: its row for each class; None for a new one.  count: its rows."""
    if order is None:
        return HeadSource.NEW
    return HeadSource.KEPT if list(order) == list(range(count)) else HeadSource.MAPPED


def name_fault(classes: Sequence[str], known: Sequence[str]) -> str | None:
    """Why classes that only differ from known ones in case or blanks are refused; None if there are none.

    The head would be thrown away for a spelling.
    """
    listed = spelled_otherwise(classes, known)
    if not listed:
        return None
    return (
        f"the checkpoint's head knows the classes {listed} by another spelling; rename them in the data, or "
        "set model.new_head: true to start with a new head"
    )


def label_ids(labels: Mapping[int, str], classes: Sequence[str]) -> list[int] | None:
    """The label of each class by its name; None unless every name has exactly one label."""
    names = list(labels.values())
    by_name = {name: int(number) for number, name in labels.items() if names.count(name) == 1}
    return [by_name[name] for name in classes] if all(name in by_name for name in classes) else None


def check_numbers(spec: ModelSpec, labels: Mapping[int, str]) -> None:
    """Raise ModelError unless every label is that of an output: another counts as 'no object', silently."""
    numbers = sorted(int(number) for number in labels)
    if numbers != list(range(len(numbers))):
        raise ModelError(
            f"model.name '{spec.name}': its config's id2label must number its {plural(len(numbers), 'label')}"
            f" from 0 to {len(numbers) - 1}, got {few([str(number) for number in numbers])};"
            " correct its config.json"
        )


def check_none_known(spec: ModelSpec, labels: Sequence[str], classes: Sequence[str]) -> None:
    """Raise ModelError if only some classes are known: one misspelt name would discard the head."""
    unknown = [name for name in classes if name not in labels]
    if not unknown or len(unknown) == len(classes):
        return
    close = difflib.get_close_matches(unknown[0], labels, n=1)
    meant = f" (did you mean '{close[0]}'?)" if close else ""
    raise ModelError(
        f"model.name '{spec.name}': its labels must include all of the data's "
        f"{plural(len(classes), 'class', 'classes')} or none, but lack {few_names(unknown)}{meant}; "
        "rename the classes in the data, or set model.new_head: true to start with a new head"
    )


def why_new(classes: Sequence[str], labels: Sequence[str]) -> str:
    """Why the head of a checkpoint with these labels is new."""
    absent = [name for name in classes if name not in labels]
    if absent:
        return f"the checkpoint has no label {few_names(absent)} (it has {few_names(labels)})"
    twice = [name for name in classes if list(labels).count(name) > 1]
    return f"the checkpoint has several labels {few_names(twice)}" if twice else "model.new_head is set"


def few_names(names: Sequence[str]) -> str:
    """The first names, quoted."""
    return ", ".join(f"'{name}'" for name in names[:5]) + (", …" if len(names) > 5 else "")


def name_labels(model: Any, labels: Sequence[str]) -> None:
    """Write the labels into the model's config."""
    model.config.id2label = dict(enumerate(labels))
    model.config.label2id = {name: number for number, name in enumerate(labels)}
