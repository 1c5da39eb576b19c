"""An Optuna study in a database, which several experiments may share."""

from __future__ import annotations

import re
import time

from optuna.storages import BaseStorage, RDBStorage
from sqlalchemy import create_engine
from sqlalchemy.exc import (
    ArgumentError,
    IntegrityError,
    NoSuchModuleError,
    OperationalError,
    ProgrammingError,
)

from trainables.errors import StorageError

_CONNECT_S = 20
_TABLES = 5
"""How often a new database is tried while another experiment creates its tables."""


class DatabaseStudyStorage:
    """A database by URL. Everything is written immediately."""

    def __init__(self, url: str) -> None:
        self.title = f"the Optuna study at {url}"
        self._url = with_driver(url)
        self._open: RDBStorage | None = None

    def open(self) -> BaseStorage:
        """Open the database, with Optuna's tables."""
        scheme = self._url.split(":")[0].split("+")[0]
        waits = {"sqlite": {"timeout": 60}, "postgresql": {"connect_timeout": _CONNECT_S}}.get(scheme, {})
        # A connection that the server dropped overnight is replaced before it is used.
        how = {"pool_pre_ping": True, "pool_size": 1, "connect_args": waits}
        for _ in range(_TABLES - 1):
            try:
                self._open = RDBStorage(self._url, engine_kwargs=how)
                return self._open
            except (IntegrityError, ProgrammingError, OperationalError) as error:
                # Two experiments created Optuna's tables at the same time; the next try finds them.
                if not re.search("already exists|unique", str(error), re.IGNORECASE):
                    raise
                time.sleep(0.5)
        self._open = RDBStorage(self._url, engine_kwargs=how)
        return self._open

    def clear(self, study: int) -> BaseStorage:
        """Delete a study of this launch that contradicts the record."""
        assert self._open is not None
        self._open.delete_study(study)
        return self._open

    def refuse(self, study: int, name: str) -> BaseStorage:
        """Raise StorageError: a study of another experiment is not changed."""
        raise StorageError(
            f"it contains a study '{name}' of another launch, which is left unchanged; launch under another"
            f" name, or remove it with `optuna delete-study --study-name {name} --storage {self._url}`"
        )

    def flush(self) -> None:
        """Do nothing: the database is written immediately."""

    def close(self) -> None:
        """Close the connection."""
        if self._open is not None:
            self._open.remove_session()
            self._open.engine.dispose()


def with_driver(url: str) -> str:
    """The URL with the driver of our extra for `postgresql://`, whatever SQLAlchemy's default is."""
    scheme, _, rest = url.partition("://")
    return f"postgresql+psycopg://{rest}" if scheme == "postgresql" else url


def require_driver(url: str) -> None:
    """Raise StorageError if the driver package for such a database is not installed."""
    try:
        create_engine(with_driver(url)).dispose()
    except (ImportError, NoSuchModuleError) as error:
        postgres = url.startswith("postgresql")
        fix = "pip install 'adaptertune[postgres]'" if postgres else "install the package for it"
        raise StorageError(f"views.optuna: {url} needs a package that is missing ({error}); {fix}") from error
    except ArgumentError as error:
        raise StorageError(f"views.optuna: {url} is not the URL of a database: {error}") from error
