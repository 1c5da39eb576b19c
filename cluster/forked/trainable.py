"""A trainable in a copy of the fork server, used by a worker of Ray like one of its own."""

from __future__ import annotations

import os
import signal
import socket
import sys
import weakref
from multiprocessing.connection import Connection
from typing import Any, Self

from cluster.forked.messages import ADDRESS, Answer, Beginning, Call
from cluster.paused_collector import import_by_name


def new_trainable(name: str) -> Any:
    """A trainable `module:Class`, not set up yet: in a copy of the fork server, or else in this process."""
    address = os.environ.get(ADDRESS)
    if address is not None:
        try:
            return ForkedTrainable.begin(name, address)
        except (OSError, EOFError):
            pass  # the server was killed
    kind = import_by_name(name)
    return kind.__new__(kind)  # Ray's __init__ would make a folder in ~/ray_results


class ForkedTrainable:
    """Calls the methods of a trainable in another process.

    If that dies, so does this process, as Ray looks at this one. The other process ends when this one does,
    or when the object is deleted.
    """

    def __init__(self, connection: Connection, life: int) -> None:
        self._connection = connection
        # Not `__del__`: in a cycle of references the connection may have closed itself before.
        weakref.finalize(self, _close, connection, life)

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

    def setup(self, config: dict[str, Any]) -> None:
        """Set up the trainable. Raises its errors, as the other methods do."""
        self._call("setup", config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Start the next trial, or pack."""
        return bool(self._call("reset_config", new_config))

    def step(self) -> dict[str, Any]:
        """Advance to the next report."""
        result: dict[str, Any] = self._call("step")
        return result

    def cleanup(self) -> None:
        """Let the trainable clean up."""
        self._call("cleanup")

    def _call(self, method: str, *arguments: Any) -> Any:
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
