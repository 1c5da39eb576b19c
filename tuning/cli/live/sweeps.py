"""The sweeps of the live page together, and what one viewer lacks of them, as a server-sent event."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock

from pydantic_core import to_json

from trainables.errors import StorageError
from tuning.cli.live.sweep import LiveSweep
from tuning.ledger.storage import find_experiments

POLL_S = 1.0
"""Seconds between two looks at the records, however many viewers there are; none look while there is none."""
MOST = 12
"""The most sweeps on a page."""


class LiveSweeps:
    """The sweeps, for the threads of a server."""

    def __init__(self, folders: Sequence[Path], clock: Callable[[], float] = time.monotonic) -> None:
        """Raises LedgerError if one of them has no usable record."""
        self.sweeps = tuple(LiveSweep(folder, number, clock) for number, folder in enumerate(folders))
        self._clock = clock
        self._lock = Lock()
        self._polled = clock()

    def event(self, seen: str) -> tuple[str | None, str]:
        """What a viewer lacks, as the text of an event; None if nothing. Then what it has seen with it.

        seen: from the last call, or the viewer's last event; anything else is taken for nothing.
        """
        with self._lock:
            if self._clock() - self._polled >= POLL_S:
                self._polled = self._clock()
                for sweep in self.sweeps:
                    sweep.refresh()
                    if seen:  # a new viewer gets curves and trials before
                        sweep.make_sections()
            before = dict(_parsed(entry) for entry in seen.split("."))
            changes = []
            for sweep in self.sweeps:
                known = before.get(sweep.anew)
                new = sweep.versions.since(known or 0)
                if known is None or new.version != known:
                    changes.append(
                        {
                            "sweep": sweep.number,
                            "anew": known is None,
                            "parts": new.parts,
                            "points": {str(trial): points for trial, points in new.points.items()},
                        }
                    )
            at = ".".join(f"{sweep.anew}-{sweep.versions.version}" for sweep in self.sweeps)
        if not changes:
            return None, at
        data = to_json({"now": time.time(), "changes": changes}, inf_nan_mode="null").decode()
        return f"id: {at}\ndata: {data}\n\n", at


def experiments_of(names: Sequence[str], storage: Path) -> list[Path]:
    """The folders of the named experiments, each once. Raises StorageError for a name that is none."""
    found = dict.fromkeys(folder.absolute() for name in names for folder in find_experiments(name, storage))
    if len(found) > MOST:
        raise StorageError(f"a page has at most {MOST} experiments, these are {len(found)}; name fewer")
    return list(found)


def _parsed(entry: str) -> tuple[str, int | None]:
    anew, _, version = entry.partition("-")
    return anew, int(version) if version.isascii() and version.isdecimal() and len(version) < 16 else None
