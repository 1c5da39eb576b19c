"""The embedded backbones: folders in hub format, each with a model card."""

from __future__ import annotations

from pathlib import Path

from trainables.specs.workload import Task

EMBEDDED = {task: Path(__file__).parent / task.facts.backbone for task in Task}
