"""Ends a process when another one ends, even by SIGKILL. Linux only."""

from __future__ import annotations

import fcntl
import os
import select
import signal


def end_with(pipe: int) -> None:
    """Let the kernel kill this process as soon as no process holds the other end of a pipe open.

    pipe: the end for reading, to which nothing is ever written. No code of this process has to run for that,
    which may be in the middle of a long call to a library.
    """
    fcntl.fcntl(pipe, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(pipe, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(pipe, fcntl.F_SETFL, fcntl.fcntl(pipe, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([pipe], [], [], 0)[0]:  # the other end was closed before
        os.kill(os.getpid(), signal.SIGKILL)
