"""The routes of the live page. None of them turns a part of a request into a path."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from trainables.errors import AdaptertuneError
from tuning.cli.live.actions import ACTIONS, carry_out
from tuning.cli.live.guard import Guard, Secrets
from tuning.cli.live.page import page_files, page_html
from tuning.cli.live.sweeps import POLL_S, LiveSweeps

if TYPE_CHECKING:
    from starlette.requests import Request

MOST_BYTES = 100_000
"""The most bytes of what a viewer fills in."""
SILENCE_S = 15.0
"""Seconds without a change until a viewer is sent an empty line, which tells whether it is still there."""
STEP_S = 0.1
"""Seconds between two looks at whether the server ends."""


def live_app(
    sweeps: LiveSweeps,
    secrets: Secrets,
    *,
    host: str,
    read_only: bool,
    ending: Callable[[], bool] = lambda: False,
) -> Starlette:
    """The application. host: where it listens.  ending: whether the server is about to end."""

    async def page(request: Request) -> Response:
        names = [sweep.name for sweep in sweeps.sweeps]
        html = page_html(names, form=secrets.form, read_only=read_only)
        return HTMLResponse(html, headers={"Set-Cookie": secrets.set_cookie})

    async def file(request: Request) -> Response:
        found = page_files().get(request.path_params["name"])
        if found is None:
            return Response("There is no such file.\n", 404, media_type="text/plain")
        return Response(found[0], media_type=found[1])

    async def events(request: Request) -> Response:
        seen = request.headers.get("last-event-id") or request.query_params.get("since", "")
        return StreamingResponse(
            _events(sweeps, seen, ending),
            media_type="text/event-stream",
            headers={"X-Accel-Buffering": "no"},
        )

    async def act(request: Request) -> Response:
        number, name = request.path_params["sweep"], request.path_params["action"]
        if read_only:
            return _said("This page is read-only: it was served with --read-only.", 403)
        if number >= len(sweeps.sweeps) or name not in ACTIONS:
            return _said("There is no such sweep or action; load the page again.", 404)
        if request.headers.get("content-type", "").partition(";")[0] != "application/json":
            return _said("The request must be JSON.", 415)
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > MOST_BYTES:
                return _said(f"The request is larger than {MOST_BYTES:,} bytes.", 413)
        try:
            done = await run_in_threadpool(carry_out, name, sweeps.sweeps[number].folder, body)
        except AdaptertuneError as error:
            return _said(str(error), 400)
        return _said(done, 200)

    return Starlette(
        routes=[
            Route("/", page),
            Route("/live/{name}", file),
            Route("/events", events),
            Route("/sweeps/{sweep:int}/{action}", act, methods=["POST"]),
        ],
        middleware=[Middleware(Guard, secrets=secrets, host=host)],
    )


def _said(text: str, status: int) -> Response:
    return JSONResponse({"said": text}, status)


async def _events(sweeps: LiveSweeps, seen: str, ending: Callable[[], bool]) -> AsyncIterator[str]:
    """What changes, for one viewer, until it goes away or the server ends."""
    silent = 0.0
    while not ending():
        text, seen = await run_in_threadpool(sweeps.event, seen)
        if text is None and silent >= SILENCE_S:
            text = ":\n\n"
        if text is None:
            silent += POLL_S
        else:
            silent = 0.0
            yield text
        waited = 0.0
        while waited < POLL_S and not ending():
            await asyncio.sleep(STEP_S)
            waited += STEP_S
