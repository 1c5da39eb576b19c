"""The process that is copied: it imports modules, then forks a copy of itself for each worker that connects.

    python -m cluster.forked.server FILE_DESCRIPTOR MODULE...

FILE_DESCRIPTOR is a listening Unix socket. The process ends when the one at the other end of its standard
input does. A copy ends with the worker that it trains for.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from cluster.forked.bound_life import end_with
from cluster.forked.messages import COPY, Answer, Beginning, Call, portable
from cluster.paused_collector import import_by_name
from cluster.preloading import import_modules


def main(arguments: Sequence[str]) -> None:
    """Import, then fork for ever."""
    end_with(sys.stdin.fileno())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the copies
    listener = socket.socket(fileno=int(arguments[0]))
    for name in arguments[1:]:
        with suppress(Exception):  # the copy that needs it imports it again, and says what is wrong
            import_modules([name])
    while True:
        connected, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            _become_worker(connected)
        connected.close()


def _become_worker(connected: socket.socket) -> None:
    """Serve one worker of Ray until it closes the connection, or ends."""
    code = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _, (output, errors, life), _, _ = socket.recv_fds(connected, 1, 3)
        end_with(life)
        for descriptor, place in ((os.open(os.devnull, os.O_RDONLY), 0), (output, 1), (errors, 2)):
            os.dup2(descriptor, place)
            os.close(descriptor)
        with Connection(connected.detach()) as connection, suppress(EOFError):
            serve(connection)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def serve(connection: Connection) -> None:
    """Take over the worker's surroundings, then answer its calls. Raises EOFError when it has closed."""
    beginning: Beginning = connection.recv()
    Path("/proc/self/comm").write_text(COPY)
    os.environ.clear()
    os.environ.update(beginning.environment)
    os.chdir(beginning.folder)
    sys.path[:] = beginning.path
    os.setpriority(os.PRIO_PROCESS, 0, max(beginning.niceness, os.getpriority(os.PRIO_PROCESS, 0)))
    connection.send(Answer())
    real: Any = None
    while True:
        call: Call = connection.recv()
        try:
            if real is None:
                kind = import_by_name(beginning.trainable)
                real = kind.__new__(kind)  # Ray's __init__ would make a folder of its own
            answer = Answer(getattr(real, call.method)(*call.arguments))
        except Exception as error:
            traceback.print_exc()
            answer = Answer(error=portable(error))
        connection.send(answer)


if __name__ == "__main__":
    main(sys.argv[1:])
