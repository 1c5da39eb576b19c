"""The checkpoints that trials begin with: copies, in a folder of their own, of those of other trials.

A copy never changes, so a trial that begins again after a crash begins with the same weights, whatever has
become of its parent. `checkpoints.budget_gb` does not count the copies.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from pydantic import JsonValue

from trainables.durable import rename_file, write_file
from trainables.errors import StorageError
from trainables.run_folder import BEST_WEIGHTS, LAST_STATE
from trainables.specs.parent import ParentFile, why_not_longer, why_not_warm
from trainables.storage_paths import Place
from tuning.experiment.spec import Experiment
from tuning.ledger.history import History, TrialHistory
from tuning.ledger.outcomes import Outcome
from tuning.ledger.parent import Parent
from tuning.ledger.steering import known_trial
from tuning.ledger.storage import checkpoint_root, trial_folder

PARENTS = "parents"
_NEVER = {
    Outcome.FAILED: "has failed; `adaptertune resume NAME --retry-failed` starts it again",
    Outcome.DIVERGED: "has diverged",
    Outcome.REUSED: "took its result from another trial; name that one",
}


def check_warm(
    experiment: Experiment, folder: Path, history: History, number: int, params: Mapping[str, JsonValue]
) -> None:
    """Raise StorageError if a trial of these parameters cannot begin with the best weights of `number`."""
    trial = _ended(history, number)
    reason = why_not_warm(experiment.trial_config(trial.settings), experiment.trial_config(params))
    if reason is not None:
        raise StorageError(
            f"a copy of trial {number} cannot begin with its weights: {reason}; leave out --warm"
        )
    _require(experiment, folder, history, trial, BEST_WEIGHTS)


def check_extension(experiment: Experiment, folder: Path, history: History, number: int, epochs: int) -> None:
    """Raise StorageError if trial `number` cannot be continued to `epochs`, counted from its start."""
    trial = _ended(history, number)
    config = experiment.trial_config(trial.settings)
    if experiment.ablation is not None:
        raise StorageError(f"{history.name} is an ablation, whose trials all have the same epochs")
    if epochs <= trial.epoch:
        raise StorageError(
            f"trial {number} of {history.name} has run {trial.epoch:g} epochs; --epochs is their new total"
            f" and must be more, got {epochs}"
        )
    if (reason := why_not_longer(config)) is not None:
        raise StorageError(f"trial {number} of {history.name} cannot be continued: {reason}")
    experiment.trial_config({**trial.settings, "epochs": epochs})
    _require(experiment, folder, history, trial, LAST_STATE)


def copy_parent(root: Place, number: int, *, state: bool, durable: bool = False) -> str:
    """Copy a trial's state, or its best weights, into the folder of parents; returns the name of the copy.

    root: of the checkpoints.  durable: the copy is on the disk when this returns.  Raises StorageError if it
    cannot be read or written.
    """
    source = trial_folder(root, number) / (LAST_STATE if state else BEST_WEIGHTS)
    try:
        content = source.read_bytes()
        name = f"{hashlib.sha256(content).hexdigest()[:32]}.ckpt"
        copy = root / PARENTS / name
        if not copy.exists():
            if isinstance(copy, Path):
                copy.parent.mkdir(exist_ok=True)
                unfinished = copy.with_name(f".{name}")
                write_file(unfinished, content, durable=durable)
                rename_file(unfinished, copy, durable=durable)
            else:
                copy.write_bytes(content)
    except OSError as error:
        raise StorageError(f"{source} cannot be copied: {error.strerror or error}") from error
    return name


def parent_file(root: Place, parent: Parent | None) -> ParentFile | None:
    """Where a trial finds what it begins with. root: see `copy_parent`."""
    return None if parent is None else ParentFile(path=str(root / PARENTS / parent.file), state=parent.state)


def _ended(history: History, number: int) -> TrialHistory:
    trial = known_trial(history, number)
    if trial.outcome in _NEVER:
        raise StorageError(f"trial {number} of {history.name} {_NEVER[trial.outcome]}")
    if not trial.over:
        raise StorageError(f"trial {number} of {history.name} has not ended yet; ask again when it has")
    return trial


def _require(experiment: Experiment, folder: Path, history: History, trial: TrialHistory, name: str) -> None:
    what = "weights" if name == BEST_WEIGHTS else "state"
    if name in trial.removed:
        raise StorageError(
            f"checkpoints.budget_gb has removed the {what} of trial {trial.number} of {history.name};"
            f" `adaptertune clone {history.name}:{trial.number} --set …` trains a copy from the start"
        )
    path = trial_folder(checkpoint_root(experiment, folder), trial.number) / name
    if not path.exists():
        raise StorageError(
            f"trial {trial.number} of {history.name} has left no {what}: {path} does not exist"
        )
