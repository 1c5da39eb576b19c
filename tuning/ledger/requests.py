"""Requests that users leave in an experiment's folder, from any machine that sees it.

Each is a file of its own, which the driver reads, records in the ledger and then carries out. A sweep at rest
takes them up when it is resumed. (A request to stop is an empty file, which means nothing to a later driver.)
"""

from __future__ import annotations

import getpass
import os
import time
import uuid
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from trainables.errors import StorageError
from trainables.run_folder import CONTROL


def user_name() -> str:
    """Who makes a request; empty for a user without a name, as in some containers."""
    with suppress(OSError, KeyError, ImportError):
        return getpass.getuser()
    return ""


class Request(BaseModel):
    """What all requests say."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    time: float = Field(default_factory=time.time)
    """Seconds since 1970."""
    by: str = Field(default_factory=user_name)


class AddRequest(Request):
    """A configuration that the user wants to have tried.

    params: by dotted names, all that apply.  of: the trial that it was copied from.  warm: whether it begins
    with that trial's best weights.
    """

    params: dict[str, JsonValue]
    of: int | None = None
    warm: bool = False


class ExtendRequest(Request):
    """An ended trial is to be continued, as a trial of its own. epochs: the last one, from its start on."""

    trial: int
    epochs: int


class PauseRequest(Request):
    """A trial is to give up its worker until it may continue; None: all trials, and no other is to start."""

    trial: int | None = None


class UnpauseRequest(Request):
    """A paused trial, or the sweep, is to continue."""

    trial: int | None = None


KINDS: dict[str, type[Request]] = {
    "add": AddRequest,
    "extend": ExtendRequest,
    "pause": PauseRequest,
    "unpause": UnpauseRequest,
}
"""The kinds of requests, by how the names of their files begin."""


def leave_request(folder: Path, request: Request) -> Path:
    """Write a request for the driver of an experiment, as a whole. Raises StorageError if that fails."""
    control = folder / CONTROL
    (kind,) = (kind for kind, model in KINDS.items() if type(request) is model)
    name = f"{kind}-{time.time_ns():020d}-{uuid.uuid4().hex[:8]}.json"
    unfinished = control / f".{name}"
    try:
        control.mkdir(exist_ok=True)
        unfinished.write_text(request.model_dump_json() + "\n", encoding="utf-8")
        os.replace(unfinished, control / name)
    except OSError as error:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise StorageError(
            f"the request cannot be written to {control}: {error.strerror or error}"
        ) from error
    return control / name


def requests_in(folder: Path) -> list[Path]:
    """The requests that no driver has taken up yet, the oldest first."""
    found = (path for path in (folder / CONTROL).glob("*.json") if is_request(path))
    return sorted(found, key=lambda path: path.name.partition("-")[2])


def waiting_requests(folder: Path) -> list[Request]:
    """What the requests say that no driver has taken up yet, the oldest first, without damaged ones."""
    found = []
    for path in requests_in(folder):
        with suppress(StorageError):
            found.append(read_request(path))
    return found


def is_request(path: Path) -> bool:
    """Whether a file of `CONTROL` is a request that a later driver takes up."""
    kind, dash, _ = path.name.partition("-")
    return bool(dash) and kind in KINDS and path.suffix == ".json"


def read_request(path: Path) -> Request:
    """Read a request. Raises StorageError for a file that is none."""
    try:
        model = KINDS[path.name.partition("-")[0]]
        return model.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, ValidationError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise StorageError(f"{path.name} is no request: {reason}") from error
