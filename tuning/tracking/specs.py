"""The `views` section of an experiment: where else the record is shown. No optuna, no wandb.

Addresses are recorded with the experiment, so they hold no secrets.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated
from urllib.parse import parse_qsl, urlsplit

from pydantic import Field, field_validator

from trainables.spec import Spec

JOURNAL = "journal"
"""In place of a database's URL: a journal file in the experiment's folder."""
NO_STUDY = "none"
DATABASES = ("sqlite", "postgresql", "mysql", "mariadb", "oracle", "mssql")
"""What SQLAlchemy speaks to, as a URL's first word; a driver may follow it: postgresql+psycopg."""
_SECRETS = ("password", "passwd", "pwd")


class WandbMode(StrEnum):
    """Where runs go."""

    AUTO = "auto"
    """To the server where one is logged in, else into files."""
    ONLINE = "online"
    OFFLINE = "offline"
    """Into files, which `wandb sync` sends on."""


class WandbSpec(Spec):
    """A run of Weights & Biases for each trial, grouped by experiment."""

    project: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^/\\#?%:\s]+$")]
    entity: Annotated[str, Field(min_length=1)] | None = None
    """The user or team whose project it is; one's own when absent."""
    mode: WandbMode = WandbMode.AUTO


class ViewsSpec(Spec):
    """Where else the record is shown while it grows. A view that fails never ends the sweep."""

    optuna: str = JOURNAL
    """An Optuna study: the word journal (a file in the experiment's folder), a database's URL, or none."""
    tensorboard: bool = False
    """Event files in the experiment's folder, one run a trial."""
    wandb: WandbSpec | None = None

    @field_validator("optuna")
    @classmethod
    def _sound(cls, value: str) -> str:
        if (fault := url_fault(value)) is not None:
            raise ValueError(fault)
        return value


def url_fault(url: str) -> str | None:
    """What is wrong with the place of an Optuna study; never repeats a password."""
    if url in (JOURNAL, NO_STUDY):
        return None
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.split("+")[0] not in DATABASES:
        shown = f", got '{scheme}://…'" if separator else f", got '{url}'"
        return (
            f"must be the word {JOURNAL} or {NO_STUDY}, or the URL of a database ({', '.join(DATABASES)})"
            f" such as postgresql://user@host/name{shown}"
        )
    if scheme.split("+")[0] == "sqlite":
        if not re.match(r"/[^?]", rest) or rest.startswith("/:memory:"):
            return "must name a file, such as sqlite:///studies.db; what is in memory can be seen by nobody"
        return None
    try:
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query))
        port, password, host = parts.port, parts.password, parts.hostname
    except ValueError as error:
        return f"is no URL: {error}"
    if password is not None or any(name.lower() in _SECRETS for name in query):
        return (
            "holds a password, and an experiment's file is recorded; leave it out, and give it by"
            " PGPASSWORD or ~/.pgpass (PostgreSQL), or by the option file of your database"
        )
    if not host and not query.get("host") and not query.get("service") and port is None and not parts.path:
        return "must name a host and a database, such as postgresql://user@host/name"
    return None
