"""SQLite files of views: one that cannot be read is moved aside, since a view is written again anyway."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

ASIDE = ".old"
"""The suffix of a database that was moved aside."""
_ALSO = ("-wal", "-shm", "-journal")


def keep_if_readable(path: Path) -> bool:
    """Whether a database is there and intact; a damaged one is moved aside.

    Raises sqlite3.OperationalError if it cannot be read now: it is locked, or the disk is full.
    """
    if not path.is_file():
        return False
    try:
        with closing(sqlite3.connect(path)) as database:
            (answer,) = database.execute("pragma quick_check(1)").fetchone()
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError:
        answer = "not a database"
    if answer != "ok":
        move_aside(path)
    return bool(answer == "ok")


def move_aside(path: Path) -> None:
    """Rename a database, so that a new one can be written in its place; one that was aside is removed."""
    for suffix in _ALSO:  # they belong to this file's content alone
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    os.replace(path, path.with_name(path.name + ASIDE))
