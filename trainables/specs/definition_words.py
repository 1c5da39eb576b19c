"""The definitions of an experiment in words, for reports, cards and JSON."""

from __future__ import annotations

from trainables.specs.definitions import MEANINGS, Definitions
from trainables.specs.workload import Task

_OF_TASK = {
    Task.DETECTION: ("coco", "robustness", "fingerprint", "frozen", "pixels"),
    Task.SEGMENTATION: ("dice", "iou", "head", "robustness", "fingerprint", "frozen", "pixels"),
    Task.INSTANCE_SEGMENTATION: ("coco", "robustness", "fingerprint", "frozen", "pixels"),
}


def definitions_in_words(definitions: Definitions, task: Task) -> dict[str, str]:
    """What each definition that the task uses means, by its key: `2: mean over the foreground classes`."""
    numbers = {key: getattr(definitions, key) for key in _OF_TASK[task]}
    return {key: f"{number}: {MEANINGS[key][number]}" for key, number in numbers.items()}
