"""Who may use the live page: only who has the token, under a name of this machine, from the page itself.

- Every request needs the token: in the address that `serve` printed, then in a cookie that scripts cannot
  read and that is sent with no request from another site.
- The `Host` must be a name of this machine, so that a site whose name is made to point here (DNS rebinding)
  gets no answer.
- What changes something needs besides a second secret, which only the page holds, and the page's `Origin`.
"""

from __future__ import annotations

import ipaddress
import secrets
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

FORM_HEADER = "x-adaptertune-form"
"""The header that holds the page's own secret."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; connect-src 'self';"
    " img-src 'self' data:; style-src 'self'; style-src-attr 'unsafe-inline';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Of every answer. The attributes of the report's figures are the only inline style."""


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address to listen on."""
    if host == "localhost":
        return True
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


@dataclass(frozen=True)
class Secrets:
    """The token of a server, and the secret of its forms; drawn anew for each server.

    cookie: its name; cookies of one host are shared by all its ports.
    """

    port: int
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    form: str = field(default_factory=lambda: secrets.token_urlsafe(32))

    @property
    def cookie(self) -> str:
        """The name of the cookie."""
        return f"adaptertune-{self.port}"

    @property
    def set_cookie(self) -> str:
        """The header that gives the token to a browser, until it is closed."""
        return f"{self.cookie}={self.token}; Path=/; HttpOnly; SameSite=Strict"


class Guard:
    """Passes on only what is allowed, and adds `HEADERS` to each answer."""

    def __init__(self, app: ASGIApp, *, secrets: Secrets, host: str) -> None:
        """host: where the server listens."""
        self._app = app
        self._secrets = secrets
        self._host = host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                added = [(name.lower().encode(), text.encode()) for name, text in HEADERS.items()]
                message["headers"] = [*message.get("headers", ()), *added]
            await send(message)

        if (refused := self._refusal(scope)) is not None:
            status, text = refused
            plain = [(b"content-type", b"text/plain; charset=utf-8")]
            await with_headers({"type": "http.response.start", "status": status, "headers": plain})
            await send({"type": "http.response.body", "body": text.encode()})
            return
        await self._app(scope, receive, with_headers)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """The status and the reason, if a request is refused."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get("host", "")
        if not self._known(host):
            return (
                421,
                "This server does not go by that name. Use the address that `adaptertune serve` printed.\n",
            )
        if not self.has_token(scope, headers):
            return 403, (
                "This page needs the whole address that `adaptertune serve` printed, with its token. The"
                " address of an earlier `serve` no longer holds.\n"
            )
        if scope["method"] in ("GET", "HEAD"):
            return None
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return 403, "The request came from another site.\n"
        if not _equal(headers.get(FORM_HEADER, ""), self._secrets.form):
            return 403, "The page is of an earlier server; load it again.\n"
        return None

    def has_token(self, scope: Scope, headers: dict[str, str]) -> bool:
        """Whether a request has the token, in its address or in its cookie."""
        given = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("token", [])
        with suppress(CookieError):
            if (found := SimpleCookie(headers.get("cookie", "")).get(self._secrets.cookie)) is not None:
                given.append(found.value)
        return any(_equal(one, self._secrets.token) for one in given)

    def _known(self, host: str) -> bool:
        """Whether a `Host` names this machine. An address is no name that could be made to point here."""
        with suppress(ValueError):
            name = urlsplit(f"//{host}").hostname or ""
            if is_loopback(name):
                return True
            if is_loopback(self._host):
                return False
            with suppress(ValueError):
                ipaddress.ip_address(name)
                return True
            return name in {self._host.lower(), *own_names()}
        return False


def own_names() -> set[str]:
    """The names of this machine."""
    name = socket.gethostname().lower()
    return {name, name.partition(".")[0], socket.getfqdn().lower()}


def _equal(given: str, wanted: str) -> bool:
    return secrets.compare_digest(given.encode(), wanted.encode())
