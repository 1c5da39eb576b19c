"""The `views` section of an experiment: where else the record is shown. No optuna, no wandb.

Addresses are recorded with the experiment, so they hold no secrets.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated
from urllib.parse import parse_qsl, urlsplit

from pydantic import Field, field_validator

from trainables.specs.base import Spec

JOURNAL = "journal"
"""In place of a database's URL: a journal file in the experiment's folder."""
NO_STUDY = "none"
DATABASES = ("sqlite", "postgresql", "mysql", "mariadb", "oracle", "mssql")
"""What SQLAlchemy speaks to, as a URL's first word; a driver may follow it: postgresql+psycopg."""
_SECRETS = ("passw", "pwd", "secret", "token", "key")
"""In the name of an option, wherever it stands."""
_FILES = ("sslkey", "ssl_key")
"""Options that name a file which holds a key."""
_PASSWORD = re.compile(r"[^:/@]*:[^@]*@")
"""A user and a password as SQLAlchemy finds them behind `://`, where one may hold a `/` or `?`."""
_WITHIN_ODBC = re.compile(rf"({'|'.join(_SECRETS)})[^;=]*=", re.IGNORECASE)
_SHOWN = re.compile(r"[\w.+-]{1,40}")
"""What is no address, so that a message may repeat it."""


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
        if (error := url_error(value)) is not None:
            raise ValueError(error)
        return value


def url_error(url: str) -> str | None:
    """What is wrong with the place of an Optuna study; repeats nothing that may be a password."""
    if url in (JOURNAL, NO_STUDY):
        return None
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.split("+")[0] not in DATABASES:
        shown = f", got '{scheme}{'://…' if separator else ''}'" if _SHOWN.fullmatch(scheme) else ""
        return (
            f"must be the word {JOURNAL} or {NO_STUDY}, or the URL of a database ({', '.join(DATABASES)})"
            f" such as postgresql://user@host/name{shown}"
        )
    if scheme.split("+")[0] == "sqlite":
        if not re.match(r"/[^?]", rest) or rest.startswith("/:memory:"):
            return "must name a file, such as sqlite:///studies.db; what is in memory can be seen by nobody"
        return None
    query = dict(parse_qsl(rest.partition("?")[2]))
    if _PASSWORD.match(rest) or any(_is_secret(name, value) for name, value in query.items()):
        return (
            "holds a password, and an experiment's file is recorded; leave it out, and give it by"
            " PGPASSWORD or ~/.pgpass (PostgreSQL), or by the option file of your database"
        )
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname
    except ValueError:  # whose text may hold some of it
        return "is no URL; one is postgresql://user@host/name"
    if not host and not query.get("host") and not query.get("service") and port is None and not parts.path:
        return "must name a host and a database, such as postgresql://user@host/name"
    return None


def _is_secret(option: str, value: str) -> bool:
    name = option.lower()
    if name == "odbc_connect":
        return _WITHIN_ODBC.search(value) is not None
    return name not in _FILES and any(part in name for part in _SECRETS)
