"""The folders of experiments, and how the command line refers to them.

A storage folder has one folder for each experiment. NAME is the folder's name in it, or a path; NAME:3 is
its trial 3, NAME:best its best trial.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, TypeVar

from trainables.errors import StorageError
from trainables.run_folder import LOG
from trainables.storage_paths import Place, StorePath
from trainables.wording import plural
from tuning.experiment.spec import Experiment
from tuning.ledger.ledger import DRIVER_LOG, LEDGER, read_history
from tuning.ledger.outcomes import Outcome

if TYPE_CHECKING:
    from tuning.experiment.spec import Experiment

At = TypeVar("At", Path, StorePath, Place)
VARIABLE = "ADAPTERTUNE_STORAGE"
DEFAULT = Path("experiments")
BEST = "best"
JOBS = "jobs"
"""The folder of submitted jobs in the storage folder; each has one of its own, `NAME-1` and so on."""


def storage_folder(given: str | Path | None) -> Path:
    """The folder of `--storage`, else of the environment variable, else `./experiments`."""
    return Path(given if given is not None else os.environ.get(VARIABLE) or DEFAULT)


def shell_name(folder: Path) -> str:
    """The experiment's argument for a command typed here, quoted for the shell: its name, or its path."""
    return quote(_name_from_here(folder))


def python_name(folder: Path) -> str:
    """The experiment's argument for a Python call made here, in quotes: its name, or its path."""
    return repr(_name_from_here(folder))


def _name_from_here(folder: Path) -> str:
    usual = storage_folder(None).absolute() / folder.name
    return folder.name if usual == folder.absolute() else str(folder.absolute())


@dataclass(frozen=True)
class Reference:
    """An experiment's folder, and one of its trials: a number, `best`, or None for the whole experiment.

    metric: with `best`, the metric that decides; None for the (first) objective.
    """

    folder: Path
    trial: int | str | None = None
    metric: str | None = None

    @property
    def name(self) -> str:
        """The experiment's name."""
        return self.folder.name

    @property
    def number(self) -> int | None:
        """The trial's number; None for `best` and for the whole experiment."""
        return self.trial if isinstance(self.trial, int) else None


def parse_reference(text: str, storage: Path) -> Reference:
    """Parse NAME, NAME:trial, NAME:best or NAME:best:METRIC.

    Raises StorageError if there is no such experiment. Whether it has the metric is not checked.
    """
    match = re.fullmatch(r"(?P<name>.+):(?P<trial>\d+|best)", text)
    by = None if match is not None else re.fullmatch(r"(?P<name>.+):best:(?P<metric>.+)", text)
    if by is not None:
        return Reference(find_experiment(by["name"], storage).absolute(), BEST, by["metric"])
    if match is None:
        return Reference(find_experiment(text, storage).absolute())
    trial = match["trial"]
    folder = find_experiment(match["name"], storage).absolute()
    return Reference(folder, BEST if trial == BEST else int(trial))


def parse_log_reference(text: str, storage: Path) -> Reference:
    """Like `parse_reference`, but also finds a background launch that failed early and left only its log."""
    try:
        return parse_reference(text, storage)
    except StorageError:
        for folder in (storage / text, Path(text)):
            if (folder / DRIVER_LOG).is_file():
                return Reference(folder.absolute())
        raise


def checkpoint_root(experiment: Experiment, folder: Path) -> Place:
    """The folder of the trials' checkpoints: the experiment's own, or the one on its object store."""
    to = experiment.checkpoints.to
    return folder if to is None else StorePath.of(to) / experiment.name


def trial_folder(folder: At, number: int) -> At:
    """The folder of a trial: of its log, and of its checkpoints if `folder` is the checkpoint root."""
    return folder / "trials" / f"{number:04d}"


def read_log(reference: Reference) -> str:
    """The log of a trial or of the driver. Raises StorageError with the reason if there is none.

    `best` must already be replaced by a number.
    """
    if reference.trial == BEST:
        raise StorageError("logs takes a trial's number here, not best")
    number, name = reference.number, reference.name
    path = reference.folder / DRIVER_LOG if number is None else trial_folder(reference.folder, number) / LOG
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError as error:
        if number is not None:
            raise StorageError(_no_log(reference, number)) from error
        raise StorageError(
            f"the driver of {name} wrote no log; show the log of a trial with"
            f" `adaptertune logs {shell_name(reference.folder)}:NUMBER`"
        ) from error


def _no_log(reference: Reference, number: int) -> str:
    known = read_history(reference.folder).trials
    if number not in known:
        has = f"{plural(len(known), 'trial')}, numbered from 0" if known else "none yet"
        return f"{reference.name} has no trial {number}; it has {has}"
    ended = known[number].ended
    if ended is not None and ended.outcome is Outcome.REUSED:
        return (
            f"trial {number} of {reference.name} did not run: it reuses trial {ended.of}, which has the same"
            " configuration"
        )
    return (
        f"trial {number} of {reference.name} has no log here: its worker has not written one yet, or it ran"
        " on a machine that does not share this folder"
    )


def list_experiments(storage: Path) -> list[Path]:
    """The folders of all experiments under `storage`, sorted by name."""
    if not storage.is_dir():
        return []
    return sorted(p.parent for p in storage.glob(f"*/{LEDGER}"))


def find_experiment(name: str, storage: Path) -> Path:
    """The folder of an experiment by its name under `storage`, or by its path.

    Raises StorageError with the names of all experiments if it does not exist, and with the folder of its
    job if one was submitted.
    """
    for folder in (storage / name, Path(name)):
        if (folder / LEDGER).is_file():
            return folder
    job, submitted = _newest_job(name, storage), ""
    if job is not None:
        submitted = f" A job was submitted for it ({job}); the record begins once that runs, in its storage."
    raise StorageError(
        f"no experiment '{name}' in {storage}; {_available(storage)}.{submitted} Another storage folder is"
        " --storage DIR, in Python storage=DIR"
    )


def new_job_folder(storage: Path, name: str) -> Path:
    """The path of the next free folder of job files for an experiment, which does not exist yet."""
    number = 1
    while (folder := storage / JOBS / f"{name}-{number}").exists():
        number += 1
    return folder


def _newest_job(name: str, storage: Path) -> Path | None:
    """The folder of the newest job that was submitted for an experiment; None if there is none."""
    try:
        found = [path for path in (storage / JOBS).iterdir() if path.name.rpartition("-")[0] == name]
    except OSError:
        return None
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def find_experiments(name: str, storage: Path) -> list[Path]:
    """The folder of one experiment, or of all with names that match a pattern such as `pets-*`.

    Raises StorageError with the names of all experiments if none matches.
    """
    if not any(sign in name for sign in "*?[") or (storage / name / LEDGER).is_file():
        return [find_experiment(name, storage)]
    found = [folder for folder in list_experiments(storage) if fnmatchcase(folder.name, name)]
    if not found:
        raise StorageError(f"no experiment matches '{name}' in {storage}; {_available(storage)}")
    return found


def _available(storage: Path) -> str:
    return "available: " + (", ".join(folder.name for folder in list_experiments(storage)) or "none yet")


def refuse_existing(folder: Path, name: str) -> None:
    """Raise StorageError if the folder holds an experiment."""
    if (folder / LEDGER).exists():
        known = shell_name(folder)
        raise StorageError(
            f"an experiment '{name}' already exists in {folder.parent}; see it with"
            f" `adaptertune status {known}` or `adaptertune best {known}`, launch under another name, such as"
            f" {name}-2 (--name, in Python name=), or remove {folder}"
        )
