"""A copy of the fork server, as seen by the worker of Ray that it computes for."""

from __future__ import annotations

import os
import signal
import socket
import sys
import weakref
from multiprocessing.connection import Connection
from typing import Any, Self

from cluster.forked.messages import ADDRESS, Answer, Beginning, Call


class Copy:
    """Calls the methods of an object in another process.

    If that dies, so does this process, as Ray looks at this one. The other process ends when this one does,
    or when the object is deleted.
    """

    def __init__(self, connection: Connection, life: int) -> None:
        self._connection = connection
        # Not `__del__`: in a cycle of references the connection may have closed itself before.
        weakref.finalize(self, _close, connection, life)

    @classmethod
    def found(cls, name: str) -> Self | None:
        """A copy with an object of the class `module:Class`; None without a server, or if it was killed."""
        address = os.environ.get(ADDRESS)
        if address is None:
            return None
        try:
            return cls.begin(name, address)
        except (OSError, EOFError):
            return None

    @classmethod
    def begin(cls, name: str, address: str) -> Self:
        """Have a copy made, once the server has done its imports. Raises OSError or EOFError if it dies."""
        connected = socket.socket(socket.AF_UNIX)
        read, write = os.pipe()
        try:
            connected.connect(address)
            socket.send_fds(connected, [b"\0"], [1, 2, read])
        except OSError:
            os.close(write)
            raise
        finally:
            os.close(read)
        made = cls(Connection(connected.detach()), write)
        made._connection.send(
            Beginning(
                trainable=name,
                environment=dict(os.environ),
                folder=os.getcwd(),
                path=tuple(sys.path),
                niceness=os.getpriority(os.PRIO_PROCESS, 0),
            )
        )
        made._connection.recv()
        return made

    def call(self, method: str, *arguments: Any) -> Any:
        """What the method returns. Raises its error."""
        try:
            self._connection.send(Call(method, arguments))
            answer: Answer = self._connection.recv()
        except (OSError, EOFError):
            os.kill(os.getpid(), signal.SIGKILL)
            raise
        if answer.error is not None:
            raise answer.error
        return answer.value


def _close(connection: Connection, life: int) -> None:
    connection.close()
    os.close(life)
