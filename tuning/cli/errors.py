"""Where errors end: every command's failure becomes a message and an exit code, never a traceback.

2   the user can mend it: a wrong file, name, option, or a disk that takes no more
1   the run itself failed, or what it ran on did
130 Ctrl-C
75  SIGTERM, as from a scheduler that wants the machine back: `adaptertune resume` goes on
70  a fault of ours; the traceback is saved in a file, whose path is told
"""

from __future__ import annotations

import errno
import os
import tempfile
import traceback
from collections.abc import Iterable
from typing import Any

import typer
from typer.core import TyperGroup

from trainables.errors import AdaptertuneError, ClusterError
from tuning.messages import FAILED, INTERNAL_ERROR, INTERRUPTED, USER_ERROR, say

_GIVEN = "adaptertune.arguments"

_DISK = {
    errno.ENOSPC: "the disk is full; free some space",
    errno.EDQUOT: "the disk quota is used up; free some space",
    errno.EROFS: "the disk is read-only; use --storage DIR for another place",
    errno.EACCES: "no permission; use --storage DIR for another place, or change the permissions",
    errno.EPERM: "no permission; use --storage DIR for another place, or change the permissions",
}


_PATH = {
    errno.ENOENT: "there is no such file or folder",
    errno.ENOTDIR: "a part of this path is a file and no folder; name another place",
    errno.EEXIST: "a file stands in the way; name another place",
    errno.EISDIR: "this is a folder, and a file is needed",
    errno.ENAMETOOLONG: "this name is too long; use a shorter one",
}
"""What may be wrong with a path that the user gave; with one of ours it is a fault of ours."""


class Guarded(TyperGroup):
    """A group of commands whose exceptions reach the user as messages."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Remembers the arguments, to tell the user's paths from ours."""
        ctx.meta[_GIVEN] = list(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except AdaptertuneError as error:
            say(str(error))
            raise typer.Exit(FAILED if isinstance(error, ClusterError) else USER_ERROR) from error
        except KeyboardInterrupt as error:
            say("interrupted; what an experiment has recorded so far is kept")
            raise typer.Exit(INTERRUPTED) from error
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise  # Typer's: the reader has seen enough, as in `adaptertune best | head`
            known = _DISK | (_PATH if _is_given(error.filename, ctx.meta.get(_GIVEN, ())) else {})
            if error.errno not in known:
                raise _crash(error) from error
            say(f"{error.filename or 'cannot write'}: {known[error.errno]}")
            raise typer.Exit(USER_ERROR) from error
        except Exception as error:
            if isinstance(error, typer.Exit | typer.Abort) or hasattr(error, "exit_code"):
                raise  # Typer's own, a wrong option among them
            raise _crash(error) from error


def _is_given(path: object, arguments: Iterable[str]) -> bool:
    """Whether a path is one of the arguments or of the variables, or lies above or below one."""
    if not isinstance(path, str | bytes) or not path:
        return False
    absolute = os.path.abspath(os.fsdecode(path))
    given = [argument.rpartition("=")[2] for argument in arguments]
    given += [os.environ.get(name, "") for name in ("ADAPTERTUNE_STORAGE", "ADAPTERTUNE_CACHE")]
    known = [os.path.abspath(text) for text in given if text]
    return any(
        absolute == other or absolute.startswith(other + os.sep) or other.startswith(absolute + os.sep)
        for other in known
    )


def _crash(error: Exception) -> typer.Exit:
    text = "".join(traceback.format_exception(error))
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="adaptertune-", suffix=".txt", delete=False, encoding="utf-8"
        ) as file:
            file.write(text)
        place = f"the details are in {file.name}; please report them"
    except OSError:
        place = "the details could not be saved"
    say(f"unexpected {type(error).__name__}: {str(error).splitlines()[0] if str(error) else '(no message)'}")
    say(f"This is a fault of adaptertune; {place}. What an experiment has recorded so far is kept.")
    return typer.Exit(INTERNAL_ERROR)
