"""An Optuna study in a journal file in the experiment's folder."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import BaseJournalBackend, JournalFileBackend

JOURNAL_FILE = "study.journal"
ASIDE = "study.journal.old"
"""The new name of a journal that was torn or belongs to another experiment."""
_LOCK = ".lock"
"""The suffix of Optuna's lock file, after the journal's name."""
_LOCK_S = 1.0
"""A lock older than this was left by a process that died: one write takes milliseconds."""


class JournalStudyStorage:
    """`study.journal` in the experiment's folder, which only one driver writes.

    Optuna cannot read its journal after a crash in the middle of a line, and a process that dies with
    the lock blocks others for half a minute, or forever if the folder has been moved. So a torn journal
    is renamed and written again, and a stale lock is removed.
    """

    title = "the Optuna journal"

    def __init__(self, folder: Path) -> None:
        self.path = folder.absolute() / JOURNAL_FILE
        self._backend: HeldJournal | None = None

    def open(self) -> BaseStorage:
        """Open the journal. Raises OSError if it cannot be written."""
        self._unlock()
        try:
            if not _whole(self.path):
                self._aside()
            return self._storage()
        except OSError:
            raise
        except Exception:  # any error of Optuna for lines that are valid JSON but not a journal
            self._aside()
            return self._storage()

    def clear(self, study: int) -> BaseStorage:
        """Start an empty journal; the old one is kept next to it."""
        self._aside()
        return self._storage()

    def refuse(self, study: int, name: str) -> BaseStorage:
        """Rename a journal of another experiment and start an empty one."""
        return self.clear(study)

    def flush(self) -> None:
        """Write everything since the last flush in one operation."""
        if self._backend is not None:
            self._backend.flush()

    def close(self) -> None:
        """Flush for the last time."""
        self.flush()

    def _storage(self) -> BaseStorage:
        self._backend = HeldJournal(self.path)
        return JournalStorage(self._backend)

    def _aside(self) -> None:
        os.replace(self.path, self.path.with_name(ASIDE))

    def _unlock(self) -> None:
        lock = self.path.with_name(self.path.name + _LOCK)
        deadline = time.monotonic() + _LOCK_S
        while os.path.lexists(lock) and time.monotonic() < deadline:
            time.sleep(0.05)
        lock.unlink(missing_ok=True)


class HeldJournal(BaseJournalBackend):  # type: ignore[misc]
    """A journal file that is written in batches, because each write by Optuna takes a lock and an fsync.

    For one storage and one writer of trials. Notes that a dashboard writes meanwhile stay in the file.
    """

    def __init__(self, path: Path) -> None:
        self._file = JournalFileBackend(str(path))
        self._unread: list[dict[str, Any]] = []
        self._unwritten: list[dict[str, Any]] = []
        self._begun = False

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """The logs that the storage has not read: first those of the file, then its own."""
        if not self._begun:
            self._begun = True
            yield from self._file.read_logs(log_number_from)
        unread, self._unread = self._unread, []
        yield from unread

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Hold logs back until the next flush."""
        self._unread += logs
        self._unwritten += logs

    def flush(self) -> None:
        """Write the logs that were held back. Raises OSError."""
        if self._unwritten:
            self._file.append_logs(self._unwritten)
            self._unwritten = []


def _whole(path: Path) -> bool:
    """Whether every line of a file is a complete JSON object; true for a missing or empty file."""
    try:
        with path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n") or not isinstance(json.loads(line), dict):
                    return False
    except FileNotFoundError:
        return True
    except ValueError:
        return False
    return True
