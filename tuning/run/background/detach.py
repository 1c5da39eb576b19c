"""A launch in the background, which continues without its terminal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from trainables.errors import AdaptertuneError, LedgerError, StorageError
from tuning.exit_codes import FAILED
from tuning.ledger.ledger import DRIVER_LOG, LEDGER, read_records
from tuning.ledger.records import PreparedRecord
from tuning.stop_signals import noted

WAIT_S = 60.0
"""How long `detach` waits for a launch to prepare its data."""
POLL_INTERVAL_S = 0.1
ENDS_WITHIN_S = 20.0
"""How long an interrupted launch may take to end."""

_RUN = (
    "import sys; sys.path.insert(0, {root!r}); import adaptertune; del sys.path[0];"
    " from adaptertune.__main__ import main; main()"
)
"""The package from where this one is, whether or not it is installed; `sys.path` is as before then."""
_STAYS = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN); "
"""It goes on when its terminal is closed."""


class NotStartedError(AdaptertuneError):
    """The launch ended before its data were ready; the message is its output.

    code: the exit code for the command that started it.
    """

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Detached:
    """A launch in the background."""

    process: int
    log: Path
    prepared: bool
    """Whether its data are ready, so that trials can run."""


def command_line(arguments: Sequence[str], *, first: str = "") -> list[str]:
    """The command line of `adaptertune ARGUMENTS` with this Python, from any folder.

    first: what Python does before.
    """
    root = str(Path(__file__).resolve().parents[2])
    # -P: a folder named tuning in the current folder is not ours.
    return [sys.executable, "-P", "-c", first + _RUN.format(root=root), *arguments]


def detach(arguments: Sequence[str], folder: Path) -> Detached:
    """Start `adaptertune ARGUMENTS` in a new session; its output goes to driver.log in `folder`.

    Returns when the experiment's data are ready, or after WAIT_S. Raises NotStartedError with the output
    of the launch if it ended before.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # First next to the experiment's folder, which must be empty at the start; moved into it later.
        descriptor, early = tempfile.mkstemp(prefix=f".{folder.name}-", suffix=".log", dir=folder.parent)
    except OSError as error:
        raise StorageError(
            f"cannot write in {folder.parent}: {error.strerror}; use --storage DIR for another folder"
        ) from error
    log = Path(early)
    with os.fdopen(descriptor, "ab") as output:
        process = subprocess.Popen(
            command_line(arguments, first=_STAYS),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        return _wait_until_prepared(process, log, folder)
    except KeyboardInterrupt:  # the launch is to end as well: nobody has been told that it runs
        process.send_signal(noted() or signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(ENDS_WITHIN_S)
        raise


def _wait_until_prepared(process: subprocess.Popen[bytes], log: Path, folder: Path) -> Detached:
    deadline = time.monotonic() + WAIT_S
    while True:
        ended = process.poll()  # before the record is read: a short sweep may have ended successfully
        log = _moved(log, folder)
        if _prepared(folder):
            return Detached(process.pid, log, prepared=True)
        if ended is not None:
            raise _not_started(log, folder, ended)
        if time.monotonic() > deadline:
            return Detached(process.pid, log, prepared=False)
        time.sleep(POLL_INTERVAL_S)


def _moved(log: Path, folder: Path) -> Path:
    """Move the log into the experiment's folder once that has a record; the process keeps writing to it."""
    inside = folder / DRIVER_LOG
    if log == inside or not (folder / LEDGER).exists():
        return log
    try:
        return log.rename(inside)
    except OSError:
        return log


def _prepared(folder: Path) -> bool:
    try:
        return any(isinstance(record, PreparedRecord) for record in read_records(folder))
    except LedgerError:
        return False  # no record yet, or a damaged one, which other commands report


def _not_started(log: Path, folder: Path, code: int) -> NotStartedError:
    output = log.read_text(encoding="utf-8", errors="replace").strip()
    if log.parent != folder:
        log.unlink(missing_ok=True)
    killed = code < 0
    end = f"was killed by signal {-code}" if killed else f"ended with code {code}"
    return NotStartedError(output or f"the launch {end}", 128 - code if killed else code or FAILED)
