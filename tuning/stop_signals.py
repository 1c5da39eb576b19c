"""Ctrl-C, SIGTERM and SIGHUP, from the first line of the command to its last.

A batch system preempts a job with SIGTERM, at any moment, and reads from the exit code whether to queue the
job again. So a command that runs a sweep installs handlers before it imports anything else. While the
sweep runs, `tuning.run.signals` takes their place; both note here what has come, and whatever the signal has
led to, an exception of Ray's included, the command ends with the signal's code.

This module is imported first, so it imports only what Python's start has imported anyway, and `signal`.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from tuning.exit_codes import INTERRUPTED, PREEMPTED, USER_ERROR

SWEEPS = frozenset({"launch", "resume", "train", "ablate", "confirm", "cluster"})
"""The commands that a batch system may preempt, and that have something to clean up then."""
END_WITHIN_S = 25.0
"""How long a command takes to end after SIGTERM, at most. Slurm kills after 30 s (`KillWait`)."""
CTRL_C_WITHIN_S = 60.0
"""The same after Ctrl-C, which nothing follows."""


class StopSignal(KeyboardInterrupt):
    """A signal that asks the process to end; as Ctrl-C, no `except Exception` holds it up."""


_noted: list[int] | None = None
"""The signals that have come to this command; None if the process is not one of `SWEEPS`."""
_over = threading.Event()
"""Set when the command has run; what is left to do at exit is not interrupted."""
_code: int | None = None
"""The exit code of a command that a signal has ended."""


def stop_signals() -> tuple[signal.Signals, ...]:
    """The signals that ask a sweep to end. A hang-up is none where it is ignored, as under `nohup`."""
    hang_up = () if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (signal.SIGHUP,)
    return (signal.SIGINT, signal.SIGTERM, *hang_up)


def note(number: int) -> None:
    """A signal has come."""
    if _noted is not None:
        _noted.append(number)


def noted() -> int | None:
    """The first signal that has come to a command of `SWEEPS`; None if none has."""
    return _noted[0] if _noted else None


def code_of(number: int) -> int:
    """The exit code of a sweep that a signal has ended."""
    return INTERRUPTED if number == signal.SIGINT else PREEMPTED


@contextmanager
def command_ended_by_signals() -> Iterator[None]:
    """Run a command in the block. A signal ends it with the signal's code, and without a traceback.

    An error that the user can correct, and a sweep that had finished, keep their codes.
    """
    if sys.argv[1:2] and sys.argv[1] in SWEEPS:
        _listen()
    try:
        yield
    except KeyboardInterrupt:
        raise _ended(code_of(noted() or signal.SIGINT)) from None
    except SystemExit as ended:
        if (number := noted()) is None:
            raise
        raise _ended(code_of(number) if ended.code not in (0, USER_ERROR) else ended.code) from None
    except Exception:
        if (number := noted()) is None:
            raise
        raise _ended(code_of(number)) from None  # the signal came in the middle of an import
    finally:
        _over.set()


def _ended(code: int) -> SystemExit:
    global _code
    _code = code
    return SystemExit(code)


def _listen() -> None:
    global _noted
    _noted, numbers = [], stop_signals()
    for number in numbers:
        signal.signal(number, _raise_once)
    atexit.register(_leave, numbers)  # first, so it is called last
    _watch(numbers)


def _raise_once(number: int, frame: FrameType | None) -> None:
    first = not _noted
    note(number)
    if first and not _over.is_set():
        raise StopSignal


def _leave(numbers: tuple[signal.Signals, ...]) -> None:
    """Keep the exit code while Python clears up, when it has no handlers any more.

    A sweep that was interrupted as it began has threads that still import; their extensions crash when Python
    clears up, so that is left out.
    """
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)
    if _noted and _code is not None:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):  # nobody reads it any more
                stream.flush()
        os._exit(_code)


def _watch(numbers: tuple[signal.Signals, ...]) -> None:
    """End the process if it does not end by itself within its time after a signal.

    Python's handlers run in the main thread, between two of its instructions: not while it waits in compiled
    code, for a Ray that does not answer. Python writes the numbers of signals into a file at once.
    """
    reads, writes = os.pipe()
    os.set_blocking(writes, False)
    _write_numbers_to(writes)

    def watch() -> None:
        while arrived := os.read(reads, 1):
            if arrived[0] in numbers:
                within = CTRL_C_WITHIN_S if arrived[0] == signal.SIGINT else END_WITHIN_S
                end = threading.Timer(within, os._exit, [code_of(arrived[0])])
                end.daemon = True
                end.start()

    threading.Thread(target=watch, name="stop-signals", daemon=True).start()
    # A child would write to the same file, also before it has its own handlers.
    os.register_at_fork(
        before=lambda: _write_numbers_to(-1),
        after_in_parent=lambda: _write_numbers_to(writes),
        after_in_child=_forget,
    )


def _write_numbers_to(file: int) -> None:
    if threading.current_thread() is threading.main_thread():  # the only one that may
        signal.set_wakeup_fd(file, warn_on_full_buffer=False)


def _forget() -> None:
    """In a forked process, signals are those of its own."""
    _write_numbers_to(-1)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is _raise_once:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
