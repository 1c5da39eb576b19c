"""What is known of a local checkpoint without loading it: its config.json."""

from __future__ import annotations

import json

from pydantic import JsonValue

from trainables.backbones import local_folder
from trainables.specs.workload import ModelSpec, Task


def config_of(model: ModelSpec, task: Task) -> dict[str, JsonValue]:
    """The config.json of a local checkpoint; empty for a checkpoint on the hub, or a file that is none."""
    folder = local_folder(model.name, task)
    try:
        found = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
