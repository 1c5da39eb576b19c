"""The embedded backbones: folders in hub format, each with a model card."""

from __future__ import annotations

from pathlib import Path

from trainables.specs.workload import Task

EMBEDDED = {
    task: Path(__file__).parent / task.facts.backbone for task in Task if task.facts.backbone is not None
}
"""The folders by task; a task may have none."""


def local_folder(name: str, task: Task) -> Path:
    """The folder that a `model.name` means if it is local; it need not exist."""
    return EMBEDDED[task] if name == "embedded" and task in EMBEDDED else Path(name).expanduser()


def no_backbone(task: Task) -> str:
    """What is wrong with `model.name: embedded` for a task that has no embedded backbone."""
    return (
        f"task {task} has no embedded backbone, got 'embedded'; give a checkpoint, as a folder in hub format "
        "or a hub id"
    )
