"""Chooses a folder for the files of a Ray that we start on this machine.

Ray puts Unix sockets below its temporary folder. The path of a socket has a small limit, and the temporary
folders of batch systems are often longer than what it leaves over.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

SOCKET_BYTES = 103 if sys.platform == "darwin" else 107
"""The longest path of a Unix socket, in bytes (`sun_path` without its final zero)."""
_LONGEST_BELOW = "/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store.99"
"""The longest path that Ray 2 adds to its temporary folder; the last number of the session is a process."""
_PREFIX = "at-"
_RANDOM = 8
"""Characters that `mkdtemp` adds to the prefix."""
FOLDER_BYTES = SOCKET_BYTES - len(_LONGEST_BELOW) - len(f"/{_PREFIX}") - _RANDOM
"""The longest path, in bytes, of a folder in which Ray's folder can be made."""
_SHORT = ("/tmp", "/var/tmp", "/dev/shm")


class NoShortFolderError(OSError):
    """No folder is short enough for Ray's sockets, and can be written."""


def new_ray_folder() -> tuple[Path, str | None]:
    """Make a folder for Ray's files that only this user can read, with a path that leaves room for sockets.

    It is made in the first of these that can be used: RAY_TMPDIR, TMPDIR, Python's temporary folder, /tmp,
    /var/tmp, /dev/shm. Also returns why RAY_TMPDIR or TMPDIR could not be used, if so.

    Raises NoShortFolderError if none of them can be used.
    """
    reasons: list[str] = []
    for name, base in _bases():
        reason = _too_long(base)
        if reason is None:
            try:
                made = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
            except OSError as error:
                reason = f"cannot be written ({error.strerror or error})"
            else:
                unused = [each for each in reasons if "TMPDIR=" in each]
                return made, "; ".join(unused) or None
        reasons.append(f"{name}={base} {reason}" if name else f"{base} {reason}")
    raise NoShortFolderError(
        f"Ray needs a folder that can be written, with a path of at most {FOLDER_BYTES} bytes, because the"
        f" path of a socket may have {SOCKET_BYTES}; set RAY_TMPDIR to such a folder."
        f" Tried: {'; '.join(reasons)}"
    )


def _bases() -> Iterator[tuple[str | None, str]]:
    """The folders to try, with the name of the variable that gives them."""
    tried = set()
    for name in ("RAY_TMPDIR", "TMPDIR"):
        if base := os.environ.get(name):
            tried.add(base)
            yield name, os.path.abspath(base)
    try:
        python = tempfile.gettempdir()
    except OSError:  # not even the current folder can be written
        python = _SHORT[0]
    for base in dict.fromkeys((python, *_SHORT)):
        if base not in tried:
            yield None, base


def _too_long(base: str) -> str | None:
    length = len(os.fsencode(base))
    if length <= FOLDER_BYTES:
        return None
    return f"is too long for the sockets below it ({length} bytes, at most {FOLDER_BYTES})"
