"""A launch that goes on without its terminal. No ray, no torch."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trainables.errors import AdaptertuneError, StorageError
from tuning.ledger import LEDGER

DRIVER_LOG = "driver.log"
WAIT_S = 30.0
LOOK_EVERY_S = 0.1

_RUN = "import sys; sys.path.insert(0, {root!r}); from tuning.cli import main; main()"


class NotStartedError(AdaptertuneError):
    """The launch ended before it had begun; the message is what it said."""


@dataclass(frozen=True)
class Detached:
    """A launch in the background."""

    process: int
    log: Path


def detach(arguments: Sequence[str], folder: Path) -> Detached:
    """Starts `adaptertune ARGUMENTS` in a session of its own; its output goes to driver.log in `folder`.

    Returns when the experiment's record exists. Raises NotStartedError with what the launch said
    if it ended before.
    """
    root = str(Path(__file__).resolve().parents[1])
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Beside the experiment's folder, which must be empty to begin with, then moved into it.
        descriptor, early = tempfile.mkstemp(prefix=f".{folder.name}-", suffix=".log", dir=folder.parent)
    except OSError as error:
        raise StorageError(
            f"cannot write in {folder.parent}: {error.strerror}; use --storage DIR for another place"
        ) from error
    log = Path(early)
    with os.fdopen(descriptor, "ab") as output:
        # -P: a folder named tuning where the user stands is not ours.
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", _RUN.format(root=root), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    deadline = time.monotonic() + WAIT_S
    while not (folder / LEDGER).exists():
        if process.poll() is not None:
            said = log.read_text(encoding="utf-8", errors="replace").strip()
            log.unlink(missing_ok=True)
            raise NotStartedError(said or f"the launch ended with code {process.returncode} and said nothing")
        if time.monotonic() > deadline:
            return Detached(process.pid, log)
        time.sleep(LOOK_EVERY_S)
    try:
        log.rename(folder / DRIVER_LOG)  # the process goes on writing to the same file
    except OSError:
        return Detached(process.pid, log)
    return Detached(process.pid, folder / DRIVER_LOG)
