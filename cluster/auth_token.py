"""The token that Ray uses on this machine, and who can read it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

MODE = "RAY_AUTH_MODE"
VALUE = "RAY_AUTH_TOKEN"
FILE = "RAY_AUTH_TOKEN_PATH"
_DEFAULT = Path("~/.ray/auth_token")


def token_mode() -> str:
    """RAY_AUTH_MODE in small letters; empty if it is not set.

    Without it Ray sends a token that it finds only to a cluster of this machine, found with `auto`.
    """
    return os.environ.get(MODE, "").lower()


def token_file() -> Path | None:
    """The file from which Ray reads its token here; None if it reads none, or has it from a variable."""
    if token_mode() == "disabled" or os.environ.get(VALUE):
        return None
    given = os.environ.get(FILE)
    path = Path(given) if given else _DEFAULT.expanduser()
    try:
        return path if path.is_file() else None
    except OSError:
        return None


def exposed_token() -> Path | None:
    """The file from which Ray reads its token here, if other users of this machine can read it."""
    path = token_file()
    return path if path is not None and _others_can_read(path) else None


def why_not_sendable(address: str | None = None) -> str:
    """Why Ray cannot send the token that it has here; empty if it can, has none, or sends none.

    address: of a cluster; without one, of a Ray that starts here. With such a token gRPC ends the whole
    process (SIGABRT; Ray 2.60).
    """
    value, source = os.environ.get(VALUE, ""), VALUE
    if token_mode() == "disabled" or (address not in (None, "auto") and token_mode() != "token"):
        return ""
    if not value and (path := token_file()) is not None:
        source = str(path)
        try:
            value = path.read_bytes().decode("latin-1")
        except OSError:
            return ""  # Ray says so
    if all(" " <= letter <= "~" for letter in value.strip()):
        return ""
    return f"the token in {source} has characters other than ASCII's printable ones; copy it again"


def _others_can_read(path: Path) -> bool:
    """Whether its group or all users can read a file. Access control lists do not count."""
    try:
        file = path.resolve()
        own, above = file.stat(), [folder.stat() for folder in file.parents]
    except OSError:
        return False
    entered_by_all = [bool(folder.st_mode & stat.S_IXOTH) for folder in above]
    entered_by_group = [
        by_all or bool(folder.st_mode & stat.S_IXGRP and folder.st_gid == own.st_gid)
        for by_all, folder in zip(entered_by_all, above, strict=True)
    ]
    return bool(
        (own.st_mode & stat.S_IROTH and all(entered_by_all))
        or (own.st_mode & stat.S_IRGRP and all(entered_by_group))
    )
