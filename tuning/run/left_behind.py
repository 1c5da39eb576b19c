"""What a driver that is gone has left in an experiment's folder: requests, and claims of its workers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from trainables.run_folder import BASELINE_CLAIM, CONTROL, HALTED
from tuning.ledger.history import History
from tuning.ledger.requests import is_request

Stamp = tuple[int, int]
"""Inode and modification time in ns: a request that is made again has another one."""


@dataclass(frozen=True)
class LeftBehind:
    """`stop` requests that no driver received, and an unfinished claim to measure the baseline.

    A resume does not obey them, and removes them only once it is recorded: one that is refused leaves the
    folder as it was. Requests that come meanwhile are none of them, nor are requests to add a trial.
    """

    files: Mapping[Path, Stamp] = field(default_factory=dict)

    @classmethod
    def found_in(cls, folder: Path, history: History) -> LeftBehind:
        """What is there now."""
        return cls({path: stamp for path in _paths(folder, history) if (stamp := _stamp(path)) is not None})

    def __contains__(self, path: Path) -> bool:
        """Whether the file is still the one that was left behind."""
        return path in self.files and _stamp(path) == self.files[path]

    def forget(self) -> None:
        """Remove the files, except those that were made again since."""
        for path in self.files:
            if path in self:
                path.unlink(missing_ok=True)


def _paths(folder: Path, history: History) -> Iterator[Path]:
    yield from (path for path in (folder / CONTROL).glob("*") if not is_request(path))
    yield from (folder / "trials").glob(f"*/{HALTED}")
    if history.baseline is None:
        yield folder / BASELINE_CLAIM


def _stamp(path: Path) -> Stamp | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns
