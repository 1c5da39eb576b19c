"""Who may speak to a Ray that a sweep starts on its own machine: this sweep alone."""

from __future__ import annotations

import os
import secrets
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from cluster.auth_token import FILE, VALUE

LOOPBACK = "127.0.0.1"
_GIVEN = (VALUE, FILE)


class NoLoopbackError(OSError):
    """Programs on this machine cannot reach each other at 127.0.0.1."""


def require_loopback() -> None:
    """Raise NoLoopbackError if nothing on this machine can be reached; Ray would try for three minutes."""
    try:
        with socket.create_server((LOOPBACK, 0)) as server:
            socket.create_connection(server.getsockname(), timeout=5.0).close()
    except OSError as error:
        raise NoLoopbackError(
            f"Ray's processes reach each other at {LOOPBACK}, and nothing can be reached there"
            f" ({error.strerror or error}). In a container or a network namespace, turn it on with"
            " `ip link set lo up`; else see whether a firewall blocks it"
        ) from error


@contextmanager
def own_token() -> Iterator[None]:
    """Inside the block, Ray processes that start share a new token, unless the user has set one.

    Ray itself writes one into the home folder, which everybody may read, and which may be read-only. What
    this process does with Ray before and after the block has the user's.
    """
    if any(os.environ.get(name) for name in _GIVEN):
        yield
        return
    os.environ[VALUE] = secrets.token_hex(32)
    forget_token()
    try:
        yield
    finally:
        os.environ.pop(VALUE, None)
        forget_token()


def forget_token() -> None:
    """Let Ray's compiled part read the token anew, which it keeps from its first use (private; Ray 2.60)."""
    compiled: Any = sys.modules.get("ray._raylet")
    loader = getattr(compiled, "AuthenticationTokenLoader", None)
    if loader is not None:
        loader.instance().reset_cache()


@contextmanager
def listening_here_only() -> Iterator[dict[str, Any]]:
    """Options for `ray.init` in the block, so that its processes listen at 127.0.0.1 and nowhere else.

    Ray replaces that address by one that other machines reach, so that they can join. The function that does
    it is private (checked with Ray 2.60); a Ray without it listens everywhere, as before.
    """
    services: Any = import_module("ray._private.services")
    before = getattr(services, "resolve_ip_for_localhost", None)
    if before is None:
        yield {}
        return
    services.resolve_ip_for_localhost = _as_it_is
    try:
        yield {"_node_ip_address": LOOPBACK}
    finally:
        services.resolve_ip_for_localhost = before


def _as_it_is(host: str) -> str:
    return host
