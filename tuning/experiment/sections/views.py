"""The `views` section: other tools that show the record.

Addresses are recorded with the experiment, so they must not contain secrets.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated
from urllib.parse import parse_qsl, urlsplit

from pydantic import Field, field_validator

from trainables.specs.base import Spec

JOURNAL = "journal"
"""Instead of a database URL: a journal file in the experiment's folder."""
NO_STUDY = "none"
DATABASES = ("sqlite", "postgresql", "mysql", "mariadb", "oracle", "mssql")
"""Database types of SQLAlchemy, as a URL's scheme; a driver may follow: postgresql+psycopg."""
_SECRETS = ("passw", "pwd", "secret", "token", "key")
"""An option with one of these in its name is a secret."""
_FILES = ("sslkey", "ssl_key")
"""Options that name a file with a key."""
_PASSWORD = re.compile(r"[^:/@]*:[^@]*@")
"""A user and a password as SQLAlchemy finds them after `://`; they may contain `/` and `?`."""
_WITHIN_ODBC = re.compile(rf"({'|'.join(_SECRETS)})[^;=]*=", re.IGNORECASE)
_SHOWN = re.compile(r"[\w.+-]{1,40}")
"""Text that is not an address, so that a message may repeat it."""


class WandbMode(StrEnum):
    """Where Weights & Biases runs are written."""

    AUTO = "auto"
    """To the server if the user is logged in, otherwise to files."""
    ONLINE = "online"
    OFFLINE = "offline"
    """To files, which `wandb sync` uploads."""


class WandbSpec(Spec):
    """A run of Weights & Biases for each trial, grouped by experiment."""

    project: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^/\\#?%:\s]+$")]
    entity: Annotated[str, Field(min_length=1)] | None = None
    """The user or team that owns the project; the logged-in user when absent."""
    mode: WandbMode = WandbMode.AUTO


class ViewsSpec(Spec):
    """Other tools that show the record while it grows. A view that fails never ends the sweep."""

    optuna: str = JOURNAL
    """An Optuna study: journal (a file in the experiment's folder), the URL of a database, or none."""
    tensorboard: bool = False
    """Write event files in the experiment's folder, one run for each trial."""
    wandb: WandbSpec | None = None
    mlflow: bool = False
    """Write a SQLite store of MLflow in the experiment's folder, one run for each trial."""
    trackio: bool = False
    """Write a project of Trackio in the experiment's folder, one run for each trial."""

    @field_validator("optuna")
    @classmethod
    def _valid(cls, value: str) -> str:
        if (error := url_error(value)) is not None:
            raise ValueError(error)
        return value


def url_error(url: str) -> str | None:
    """The error in the location of an Optuna study, if any; repeats nothing that may be a password."""
    if url in (JOURNAL, NO_STUDY):
        return None
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.split("+")[0] not in DATABASES:
        shown = f", got '{scheme}{'://…' if separator else ''}'" if _SHOWN.fullmatch(scheme) else ""
        return (
            f"must be {JOURNAL}, {NO_STUDY}, or the URL of a database ({', '.join(DATABASES)})"
            f" such as postgresql://user@host/name{shown}"
        )
    if scheme.split("+")[0] == "sqlite":
        if not re.match(r"/[^?]", rest) or rest.startswith("/:memory:"):
            return (
                "must name a file, such as sqlite:///studies.db; no other tool can read a database in memory"
            )
        return None
    query = dict(parse_qsl(rest.partition("?")[2]))
    if _PASSWORD.match(rest) or any(_is_secret(name, value) for name, value in query.items()):
        return (
            "contains a password, but the experiment file is recorded; remove it, and use PGPASSWORD or"
            " ~/.pgpass (PostgreSQL), or the option file of your database"
        )
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname
    except ValueError:  # its text may contain a part of the password
        return "is not a valid URL; write one such as postgresql://user@host/name"
    if not host and not query.get("host") and not query.get("service") and port is None and not parts.path:
        return "must name a host and a database, such as postgresql://user@host/name"
    return None


def _is_secret(option: str, value: str) -> bool:
    name = option.lower()
    if name == "odbc_connect":
        return _WITHIN_ODBC.search(value) is not None
    return name not in _FILES and any(part in name for part in _SECRETS)
