"""Where experiments live, and how the command line names them. No ray, no torch.

A storage folder holds one folder for each experiment. NAME is the folder's name there or a path;
NAME:3 is its trial 3, NAME:best the best one.
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
from trainables.object_store import Place, StorePath
from trainables.run_folder import LOG
from tuning.ledger.ledger import DRIVER_LOG

if TYPE_CHECKING:  # what only reads has no use for it, and waits for its import
    pass
from tuning.ledger.ledger import LEDGER

if TYPE_CHECKING:
    from tuning.experiment.spec import Experiment

At = TypeVar("At", Path, StorePath, Place)
VARIABLE = "ADAPTERTUNE_STORAGE"
DEFAULT = Path("experiments")
BEST = "best"


def storage_folder(given: Path | None) -> Path:
    """`--storage`, else the environment variable, else `./experiments`."""
    if given is not None:
        return given
    return Path(os.environ.get(VARIABLE) or DEFAULT)


def shell_name(folder: Path) -> str:
    """An experiment as a command typed here finds it: its name, or its path if it is kept elsewhere."""
    usual = storage_folder(None).absolute() / folder.name
    return quote(folder.name if usual == folder.absolute() else str(folder.absolute()))


@dataclass(frozen=True)
class Reference:
    """An experiment's folder, and the trial meant: its number, `best`, or None for the whole."""

    folder: Path
    trial: int | str | None = None

    @property
    def name(self) -> str:
        """The experiment's name."""
        return self.folder.name

    @property
    def number(self) -> int | None:
        """The trial's number; None for `best` and for the whole."""
        return self.trial if isinstance(self.trial, int) else None


def parse_reference(text: str, storage: Path) -> Reference:
    """NAME, NAME:trial or NAME:best. Raises StorageError if there is no such experiment."""
    match = re.fullmatch(r"(?P<name>.+):(?P<trial>\d+|best)", text)
    if match is None:
        return Reference(find_experiment(text, storage).absolute())
    trial = match["trial"]
    folder = find_experiment(match["name"], storage).absolute()
    return Reference(folder, BEST if trial == BEST else int(trial))


def parse_log_reference(text: str, storage: Path) -> Reference:
    """As `parse_reference`; also a launch in the background that failed early and left its log alone."""
    try:
        return parse_reference(text, storage)
    except StorageError:
        for folder in (storage / text, Path(text)):
            if (folder / DRIVER_LOG).is_file():
                return Reference(folder.absolute())
        raise


def checkpoint_root(experiment: Experiment, folder: Path) -> Place:
    """In place of the experiment's folder, for what is looked for of its trials' checkpoints."""
    to = experiment.checkpoints.to
    return folder if to is None else StorePath.of(to) / experiment.name


def trial_folder(folder: At, number: int) -> At:
    """Where a trial's log is; its checkpoints, too, where `folder` is their root."""
    return folder / "trials" / f"{number:04d}"


def read_log(reference: Reference) -> str:
    """What a trial wrote, or the driver. Raises StorageError that says why there is nothing.

    `best` must have been made a number: which trial that is, the record's readers know.
    """
    if reference.trial == BEST:
        raise StorageError("logs takes a trial's number here, not best")
    number, name = reference.number, reference.name
    path = reference.folder / DRIVER_LOG if number is None else trial_folder(reference.folder, number) / LOG
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError as error:
        if number is not None:
            raise StorageError(
                f"trial {number} of {name} has no log: it has not started, or ran on another machine"
            ) from error
        raise StorageError(
            f"the driver of {name} wrote no log; a trial's is shown by"
            f" `adaptertune logs {shell_name(reference.folder)}:NUMBER`"
        ) from error


def list_experiments(storage: Path) -> list[Path]:
    """The experiments' folders under `storage`, by name."""
    if not storage.is_dir():
        return []
    return sorted(p.parent for p in storage.glob(f"*/{LEDGER}"))


def find_experiment(name: str, storage: Path) -> Path:
    """The folder of an experiment by its name under `storage`, or by its path.

    Raises StorageError that names the experiments there are.
    """
    for folder in (storage / name, Path(name)):
        if (folder / LEDGER).is_file():
            return folder
    raise StorageError(
        f"no experiment '{name}' in {storage}; {_there(storage)}. Use --storage DIR for another place"
    )


def find_experiments(name: str, storage: Path) -> list[Path]:
    """The folder of one experiment, or of all whose names fit a pattern such as `pets-*`.

    Raises StorageError that names the experiments there are.
    """
    if not any(sign in name for sign in "*?[") or (storage / name / LEDGER).is_file():
        return [find_experiment(name, storage)]
    found = [folder for folder in list_experiments(storage) if fnmatchcase(folder.name, name)]
    if not found:
        raise StorageError(f"no experiment fits '{name}' in {storage}; {_there(storage)}")
    return found


def _there(storage: Path) -> str:
    return "there are: " + (", ".join(folder.name for folder in list_experiments(storage)) or "none yet")
