"""What is known of a checkpoint without loading it: its config.json."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from pydantic import JsonValue

from trainables.backbones import local_folder
from trainables.specs.metric_class import no_weights
from trainables.specs.workload import ModelSpec, Task


def config_of(model: ModelSpec, task: Task) -> dict[str, JsonValue]:
    """The config.json of a local checkpoint; empty for a checkpoint on the hub, or a file that is none."""
    return _read(local_folder(model.name, task) / "config.json")


def weights_refused(model: ModelSpec | None, task: Task | None, *, cached: bool = False) -> str | None:
    """The error of `loss_weights` with this model, if its loss takes none; None too if it is not known here.

    cached: look at what was downloaded from the hub, too, as it is once data are prepared for a model.
    """
    if model is None or task is None:
        return None
    config = config_of(model, task) or (_cached(model) if cached else {})
    kind = config.get("model_type")
    return no_weights(str(kind)) if kind in task.facts.own_losses else None


def _cached(model: ModelSpec) -> dict[str, JsonValue]:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    with suppress(HFValidationError):  # no name of a repository
        found = try_to_load_from_cache(model.name, "config.json", revision=model.revision)
        if isinstance(found, str):
            return _read(Path(found))
    return {}


def _read(path: Path) -> dict[str, JsonValue]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
