"""The folder that `train` writes into: new, and gone again if nothing was trained."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from trainables.errors import StorageError
from tuning.checkpoints.trained_adapter import REPORTS, TRAINED


@contextmanager
def run_folder(into: Path | None, storage: Path, name: str) -> Iterator[Path]:
    """A new or empty folder for a run. If the run ends by an error before its first report, it is gone again.

    After the first report it stays, with what was trained.  into: None for a new folder under `trained/`.
    Raises StorageError if the folder that was asked for is not empty.
    """
    folder = into if into is not None else storage / TRAINED / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StorageError(f"{folder} already exists and is not empty; choose another with --into")
    absent = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    except BaseException:
        if not _has_reports(folder):
            _remove(folder, absent)
        raise


def _has_reports(folder: Path) -> bool:
    try:
        return (folder / REPORTS).stat().st_size > 0
    except OSError:
        return False


def _remove(folder: Path, absent: list[Path]) -> None:
    """Delete the files in `folder`, which was empty, and the folders that were `absent` before the run."""
    with suppress(OSError):
        for path in folder.iterdir():
            path.unlink()
        for each in absent:  # the innermost first; one that someone else uses by now is not empty, and stays
            each.rmdir()
