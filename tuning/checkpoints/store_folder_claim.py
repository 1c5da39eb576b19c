"""Claiming an experiment's folder on an object store (`checkpoints.to`)."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from trainables.errors import StorageError
from trainables.storage_paths import StorePath
from tuning.experiment.spec import Experiment
from tuning.ledger.records import ExperimentRecord
from tuning.ledger.storage import checkpoint_root

MARK = "experiment.json"
"""The file in the folder on the store that names the experiment it belongs to."""


def claim_store_folder(experiment: Experiment, header: ExperimentRecord) -> None:
    """Claim the folder on the store before any work starts. Does nothing without `checkpoints.to`.

    Raises StorageError if the store cannot be written, or if the folder belongs to another experiment,
    even one that has not saved anything yet.
    """
    root = checkpoint_root(experiment, Path())
    if not isinstance(root, StorePath):
        return
    ours, theirs = _mark(header), _marked(root)
    if theirs == ours:
        return
    if theirs is not None:
        raise StorageError(
            f"{root} belongs to another experiment '{experiment.name}', launched {_day(theirs)};"
            " set checkpoints.to to another folder, launch under another name, or remove it"
            f" (it contains only {MARK} if that experiment saved nothing)"
        )
    (root / MARK).write_bytes(json.dumps(ours).encode())


def release_store_folder(experiment: Experiment, header: ExperimentRecord) -> None:
    """Undo `claim_store_folder` for an experiment that did not start. Keeps it if the store is silent."""
    root = checkpoint_root(experiment, Path())
    if not isinstance(root, StorePath):
        return
    with suppress(StorageError):
        if _marked(root) == _mark(header):
            (root / MARK).unlink(missing_ok=True)


def _mark(header: ExperimentRecord) -> dict[str, JsonValue]:
    return {"name": header.name, "begun": header.time}


def _marked(root: StorePath) -> Any:
    try:
        return json.loads((root / MARK).read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        return {}


def _day(mark: Any) -> str:
    begun = mark.get("begun") if isinstance(mark, dict) else None
    if not isinstance(begun, int | float):
        return "at an unknown time"
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(begun))
