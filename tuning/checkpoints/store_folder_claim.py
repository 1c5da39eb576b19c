"""Claiming an experiment's folder on an object store (`checkpoints.to`).

pyarrow has no write that fails if the object exists, so two launches that begin at once decide by claims:
each writes an object with a name of its own, then lists all of them, then reads the mark. One that finds
another experiment's claim or mark withdraws. The later of two claims is written before its own list is read,
so at most one of two goes on; both may be refused. This needs a store that lists and reads what was written
before (S3, Google Cloud Storage, Azure and local file systems do).
"""

from __future__ import annotations

import json
import secrets
import time
from contextlib import suppress
from itertools import filterfalse
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from trainables.errors import StorageError
from trainables.storage_paths import StorePath, is_part
from tuning.experiment.spec import Experiment
from tuning.ledger.records import ExperimentRecord
from tuning.ledger.storage import checkpoint_root

MARK = "experiment.json"
"""The file in the folder on the store that names the experiment it belongs to."""
CLAIMS = "claims"
"""The folder of the claims of launches that have not written the mark yet."""


def claim_store_folder(experiment: Experiment, header: ExperimentRecord) -> None:
    """Claim the folder on the store before any work starts. Does nothing without `checkpoints.to`.

    Raises StorageError if the store cannot be written, or if the folder belongs to another experiment,
    even one that has not saved anything yet, or another launch claims it at this moment.
    """
    root = checkpoint_root(experiment, Path())
    if not isinstance(root, StorePath):
        return
    ours = _mark(header)
    if _is_ours(root, ours):
        return
    claim = root / CLAIMS / f"{secrets.token_hex(8)}.json"
    try:
        claim.write_bytes(json.dumps(ours).encode())
        for name in filterfalse(is_part, (root / CLAIMS).files()):
            _require_no_other(root / CLAIMS / name, ours)
        # Only now: a launch whose claim is gone already has written the mark before.
        if not _is_ours(root, ours):
            (root / MARK).write_bytes(json.dumps(ours).encode())
    finally:
        with suppress(StorageError):  # what is left names this experiment, and keeps only others out
            claim.unlink(missing_ok=True)


def release_store_folder(experiment: Experiment, header: ExperimentRecord) -> None:
    """Undo `claim_store_folder` for an experiment that did not start. Keeps it if the store is silent."""
    root = checkpoint_root(experiment, Path())
    if not isinstance(root, StorePath):
        return
    with suppress(StorageError):
        if _read(root / MARK) == _mark(header):
            (root / MARK).unlink(missing_ok=True)


def _is_ours(root: StorePath, ours: dict[str, JsonValue]) -> bool:
    """Whether the mark is there. Raises StorageError if it is another experiment's."""
    theirs = _read(root / MARK)
    if theirs is None or theirs == ours:
        return theirs is not None
    raise StorageError(
        f"{root} belongs to another experiment '{ours['name']}', launched {_day(theirs)};"
        " set checkpoints.to to another folder, launch under another name, or remove it"
        f" (it contains only {MARK} if that experiment saved nothing)"
    )


def _require_no_other(claim: StorePath, ours: dict[str, JsonValue]) -> None:
    """Raise StorageError if a claim is another experiment's."""
    theirs = _read(claim)
    if theirs is None or theirs == ours:
        return
    raise StorageError(
        f"another launch of an experiment '{ours['name']}', begun {_day(theirs)}, claims its folder on the"
        f" store at this moment; launch again, or under another name. If that launch died, remove its claim"
        f" {claim}"
    )


def _mark(header: ExperimentRecord) -> dict[str, JsonValue]:
    return {"name": header.name, "begun": header.time}


def _read(file: StorePath) -> Any:
    """What a mark or claim says; None if there is none, an empty mapping if it cannot be read."""
    try:
        return json.loads(file.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        return {}


def _day(mark: Any) -> str:
    begun = mark.get("begun") if isinstance(mark, dict) else None
    if not isinstance(begun, int | float):
        return "at an unknown time"
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(begun))
