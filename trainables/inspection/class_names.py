"""Which of the data's classes a checkpoint's head knows by name."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trainables.backbones import local_folder
from trainables.data.sample import fold_name, near_name
from trainables.specs.workload import ModelSpec, Task
from trainables.wording import few, plural

HEADS = ("Segmentation", "Segmenter")
"""Words in the names of architectures whose checkpoints have a head for segmentation of their own."""


@dataclass(frozen=True)
class ClassMatch:
    """A class of the data. label: the checkpoint's label of this name, None if it has none.

    near: a label that was probably meant.
    """

    name: str
    label: int | None
    near: str | None


@dataclass(frozen=True)
class ClassMapping:
    """All classes. labels: the number of the checkpoint's.  verdict: what a trial's head will be.

    refused: whether training refuses these classes with this checkpoint.
    """

    model: str
    labels: int
    matches: tuple[ClassMatch, ...]
    verdict: str
    refused: bool


def map_classes(model: ModelSpec, task: Task, classes: Sequence[str]) -> ClassMapping:
    """Compare names with the checkpoint's labels; reads its settings only. Raises ModelError."""
    labels = checkpoint_labels(model, task)
    matches = tuple(_match(name, labels) for name in classes)
    known = [m.name for m in matches if m.label is not None]
    absent = [m for m in matches if m.name not in labels]
    twice = [m.name for m in matches if labels.count(m.name) > 1]
    refused = False
    if model.new_head:
        verdict = "model.new_head is set, so the head is new and learns these classes from the start"
    elif not labels:
        verdict = "the checkpoint has no head for this task, so the head is new"
    elif twice and not absent:
        verdict = f"the head is new: the checkpoint has several labels {few([repr(n) for n in twice])}"
    elif not absent:
        kept = len(classes) == len(labels)
        verdict = (
            f"the checkpoint's head is kept: it knows all {plural(len(classes), 'class', 'classes')}"
            + ("" if kept else f", among {len(labels)}")
        )
    elif len(absent) < len(matches) and task.facts.boxes:
        refused = True
        verdict = (
            f"training refuses this: the checkpoint knows {len(known)} of {len(classes)} classes, but lacks "
            f"{few([repr(m.name) for m in absent])}; rename these in the data, or set model.new_head: true"
        )
    elif spelled := [m for m in absent if _only_spelled(m)]:
        refused = True
        verdict = (
            "training refuses this: the checkpoint knows classes by another spelling "
            f"({few([f'{m.name!r} for {m.near!r}' for m in spelled])}); rename these in the data, or set "
            "model.new_head: true"
        )
    else:
        verdict = (
            f"the head is new: the checkpoint knows {len(known) or 'none'} of the "
            f"{plural(len(classes), 'class', 'classes')}"
        )
    return ClassMapping(model.name, len(labels), matches, verdict, refused)


def checkpoint_labels(model: ModelSpec, task: Task) -> tuple[str, ...]:
    """The names of the checkpoint's labels for the task, in their order; empty without a head for it.

    Raises ModelError if its settings cannot be read.
    """
    if task.facts.boxes:
        return _labels(model, task, ())
    folder = local_folder(model.name, task)
    try:  # the head that this program keeps next to a backbone; see `trainables.tasks.segmentation`
        held: Any = json.loads((folder / "head.json").read_text(encoding="utf-8"))
        return tuple(str(name) for name in held["classes"])
    except (OSError, ValueError, KeyError, TypeError):
        return _labels(model, task, HEADS)


def _labels(model: ModelSpec, task: Task, kinds: Sequence[str]) -> tuple[str, ...]:
    """The labels in the checkpoint's settings. kinds: words of the architectures that have such a head."""
    from trainables.tasks.hub import read_config  # imports transformers

    config = read_config(model, task)
    built = " ".join(getattr(config, "architectures", None) or [])
    if kinds and not any(kind in built for kind in kinds):
        return ()
    found = dict(getattr(config, "id2label", None) or {})
    return tuple(str(name) for _, name in sorted(found.items(), key=lambda item: int(item[0])))


def _match(name: str, labels: Sequence[str]) -> ClassMatch:
    # A label that several outputs have says nothing of which is meant.
    if name in labels:
        return ClassMatch(name, labels.index(name) if labels.count(name) == 1 else None, None)
    return ClassMatch(name, None, near_name(name, labels) if labels else None)


def _only_spelled(match: ClassMatch) -> bool:
    return match.near is not None and fold_name(match.near) == fold_name(match.name)
