"""An Optuna study that lasts as a journal file in the experiment's folder."""

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
"""A journal that was torn, or not this experiment's."""
_LOCK = ".lock"
"""Behind the journal's name: Optuna's lock."""
_LOCK_S = 1.0
"""A lock held longer than this was left by something that died: one write takes milliseconds."""


class JournalStudyStorage:
    """`study.journal` in the experiment's folder, which only one driver writes.

    Optuna's journal does not outlive a crash in the middle of a line, and what dies while it holds
    the lock stops the others for half a minute, or for good where the folder has moved meanwhile.
    So a torn one is put aside here and written anew, and a lock that stays is taken away.
    """

    title = "the Optuna journal"

    def __init__(self, folder: Path) -> None:
        self.path = folder.absolute() / JOURNAL_FILE
        self._backend: HeldJournal | None = None

    def open(self) -> BaseStorage:
        """The journal's storage. Raises OSError where it cannot be written."""
        self._unlock()
        try:
            if not _whole(self.path):
                self._aside()
            return self._storage()
        except OSError:
            raise
        except Exception:  # whatever Optuna makes of lines that are sound JSON and no journal
            self._aside()
            return self._storage()

    def clear(self, study: int) -> BaseStorage:
        """An empty journal; the old one stays beside it."""
        self._aside()
        return self._storage()

    def refuse(self, study: int, name: str) -> BaseStorage:
        """A journal that came from elsewhere is put aside."""
        return self.clear(study)

    def flush(self) -> None:
        """Writes what the storage was told since the last time, in one go."""
        if self._backend is not None:
            self._backend.flush()

    def close(self) -> None:
        """The last flush."""
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
    """A journal file that is written in lots: each write of Optuna's own takes a lock and an fsync.

    For one storage and one writer of trials. Notes that a dashboard writes meanwhile stay in the file.
    """

    def __init__(self, path: Path) -> None:
        self._file = JournalFileBackend(str(path))
        self._unread: list[dict[str, Any]] = []
        self._unwritten: list[dict[str, Any]] = []
        self._begun = False

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """What the storage has not seen: first the file, then what it appended itself."""
        if not self._begun:
            self._begun = True
            yield from self._file.read_logs(log_number_from)
        unread, self._unread = self._unread, []
        yield from unread

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Takes lines up."""
        self._unread += logs
        self._unwritten += logs

    def flush(self) -> None:
        """Writes them. Raises OSError."""
        if self._unwritten:
            self._file.append_logs(self._unwritten)
            self._unwritten = []


def _whole(path: Path) -> bool:
    """Whether every line of a file is whole JSON, the last one ended; of none, and of an empty one, too."""
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
