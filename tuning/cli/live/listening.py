"""The server of the live page: it listens, says where, and ends at Ctrl-C."""

from __future__ import annotations

import errno
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from trainables.errors import StorageError
from tuning.cli.live.guard import Secrets, is_loopback
from tuning.cli.live.sweeps import LiveSweeps
from tuning.messages import print_answer, say

if TYPE_CHECKING:
    from uvicorn import Server

EXTRA = ("starlette", "uvicorn")
ENDING_S = 3
"""Seconds that open requests get to end."""
EVERYWHERE = ("0.0.0.0", "::")


def require_extra() -> None:
    """Raise StorageError unless the packages of the extra `serve` are installed."""
    missing = [name for name in EXTRA if find_spec(name) is None]
    if missing:
        raise StorageError(
            f"`adaptertune serve` needs {' and '.join(missing)}; install the extra:"
            " pip install 'adaptertune[serve]'"
        )


def serve_page(folders: Sequence[Path], *, host: str, port: int, read_only: bool) -> None:
    """Serve the page of these experiments until Ctrl-C.

    Raises LedgerError for an unusable record, StorageError if it cannot listen there.
    """
    import uvicorn

    from tuning.cli.live.app import live_app

    sweeps = LiveSweeps(folders)
    with listening_socket(host, port) as listening:
        secrets = Secrets(listening.getsockname()[1])
        app = live_app(
            sweeps, secrets, host=host, read_only=read_only, ending=lambda: bool(server.should_exit)
        )
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                log_level="error",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                ws="none",
                lifespan="off",
                timeout_graceful_shutdown=ENDING_S,
            )
        )
        with _ended_by_ctrl_c(server):
            print_answer(_where(sweeps, host, secrets))
            if not is_loopback(host):
                say(
                    f"warning: --host {host} lets other machines reach this page, without encryption:"
                    " whoever sees the address with its token can "
                    + ("watch" if read_only else "watch and steer")
                    + " these sweeps"
                )
            server.run(sockets=[listening])
    print_answer("the page has ended; the sweeps go on")


@contextmanager
def _ended_by_ctrl_c(server: Server) -> Iterator[None]:
    """Let SIGINT end the server, also before uvicorn listens for it.

    Nothing is raised: a KeyboardInterrupt in a weak reference's callback is printed and lost, and the
    server would go on.
    """

    def end(number: int, frame: FrameType | None) -> None:
        server.should_exit = True

    before = signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _where(sweeps: LiveSweeps, host: str, secrets: Secrets) -> str:
    name = socket.gethostname() if host in EVERYWHERE else f"[{host}]" if ":" in host else host
    shown = ", ".join(sweep.name for sweep in sweeps.sweeps)
    return f"{shown}: http://{name}:{secrets.port}/?token={secrets.token}\nCtrl-C ends the page."


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises StorageError, with a way out, if the port is taken or may not be used."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise StorageError(f"--host {host} is no address of this machine: {error.strerror}") from error
    family, kind, protocol, _, address = found[0]
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(128)
    except OSError as error:
        listening.close()
        raise StorageError(_cannot_listen(host, port, error)) from error
    return listening


def _cannot_listen(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} of {host} is taken, perhaps by another `adaptertune serve`; choose another with"
            " --port, or --port 0 for any that is free"
        )
    if error.errno == errno.EACCES:
        return f"port {port} may not be used by this user; choose one from 1024 on with --port"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"--host {host} is no address of this machine; leave it out for loopback"
    return f"cannot listen on {host}, port {port}: {(error.strerror or str(error)).lower()}"
