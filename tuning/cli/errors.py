"""Turns the exceptions of every command into a message and an exit code, never a traceback.

2   an error that the user can correct: a wrong file, name or option, or a disk that cannot be written
1   the run itself failed, or the cluster that it ran on, or Ray did not start
130 Ctrl-C
75  SIGTERM or SIGHUP, as from a scheduler that needs the machine: `adaptertune resume` continues
70  an error in adaptertune; the traceback is saved in a file, and its path is printed
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
from tuning import stop_signals
from tuning.exit_codes import FAILED, INTERNAL_ERROR, INTERRUPTED, USER_ERROR
from tuning.messages import say

_GIVEN = "adaptertune.arguments"

_DISK = {
    errno.ENOSPC: "the disk is full; free some space",
    errno.EDQUOT: "the disk quota is used up; free some space",
    errno.EROFS: "the disk is read-only; choose another folder with --storage DIR",
    errno.EACCES: "no permission; choose another folder with --storage DIR, or change the permissions",
    errno.EPERM: "no permission; choose another folder with --storage DIR, or change the permissions",
}


_PATH = {
    errno.ENOENT: "there is no such file or folder",
    errno.ENOTDIR: "a part of this path is a file, not a folder; choose another path",
    errno.EEXIST: "a file of this name already exists; choose another path",
    errno.EISDIR: "this is a folder, and a file is needed",
    errno.ENAMETOOLONG: "this name is too long; use a shorter one",
}
"""What may be wrong with a path that the user gave. For other paths, these are errors in adaptertune."""


class ErrorReportingGroup(TyperGroup):
    """A group of commands that reports exceptions as messages."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Keep the arguments, to tell the user's paths from our own."""
        ctx.meta[_GIVEN] = list(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except AdaptertuneError as error:
            say(str(error))
            if isinstance(error, ClusterError) and stop_signals.noted() is not None:
                raise _interrupted() from error
            raise typer.Exit(FAILED if isinstance(error, ClusterError) else USER_ERROR) from error
        except KeyboardInterrupt as error:
            raise _interrupted() from error
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise  # Typer handles it: the reader has stopped, as in `adaptertune best | head`
            known = _DISK | (_PATH if _is_given(error.filename, ctx.meta.get(_GIVEN, ())) else {})
            if error.errno not in known:
                raise _internal_error(error) from error
            say(f"{error.filename or 'cannot write'}: {known[error.errno]}")
            raise typer.Exit(USER_ERROR) from error
        except Exception as error:
            if isinstance(error, typer.Exit | typer.Abort) or hasattr(error, "exit_code"):
                raise  # Typer's own, such as a wrong option
            if stop_signals.noted() is not None:  # what a signal's exception became in compiled code
                raise _interrupted() from error
            raise _internal_error(error) from error


def _interrupted() -> typer.Exit:
    say("interrupted; everything that an experiment has recorded so far is kept")
    return typer.Exit(INTERRUPTED)  # `command_ended_by_signals` makes it the signal's code


def _is_given(path: object, arguments: Iterable[str]) -> bool:
    """Whether a path is, contains, or is inside one of the arguments or of the variables."""
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


def _internal_error(error: Exception) -> typer.Exit:
    text = "".join(traceback.format_exception(error))
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="adaptertune-", suffix=".txt", delete=False, encoding="utf-8"
        ) as file:
            file.write(text)
        details = f"the traceback is in {file.name}; please report it"
    except OSError:
        details = "the traceback could not be saved"
    say(f"unexpected {type(error).__name__}: {str(error).splitlines()[0] if str(error) else '(no message)'}")
    say(f"This is an error in adaptertune; {details}. Everything that an experiment has recorded is kept.")
    return typer.Exit(INTERNAL_ERROR)
