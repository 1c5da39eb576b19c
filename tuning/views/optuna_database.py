"""An Optuna study that lasts in a database, which other experiments may share."""

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
"""Times that a new database is tried in which another experiment makes its tables."""


class DatabaseStudyStorage:
    """A database by URL. Its lines are there at once."""

    def __init__(self, url: str) -> None:
        self.title = f"the Optuna study at {url}"
        self._url = with_driver(url)
        self._open: RDBStorage | None = None

    def open(self) -> BaseStorage:
        """The database, with Optuna's tables in it."""
        scheme = self._url.split(":")[0].split("+")[0]
        waits = {"sqlite": {"timeout": 60}, "postgresql": {"connect_timeout": _CONNECT_S}}.get(scheme, {})
        # A connection that the server dropped overnight is replaced before it is used.
        how = {"pool_pre_ping": True, "pool_size": 1, "connect_args": waits}
        for _ in range(_TABLES - 1):
            try:
                self._open = RDBStorage(self._url, engine_kwargs=how)
                return self._open
            except (IntegrityError, ProgrammingError, OperationalError) as error:
                # Optuna's tables are made by two experiments at once: the second one finds them.
                if not re.search("already exists|unique", str(error), re.IGNORECASE):
                    raise
                time.sleep(0.5)
        self._open = RDBStorage(self._url, engine_kwargs=how)
        return self._open

    def clear(self, study: int) -> BaseStorage:
        """The database without a study of ours that contradicts the record."""
        assert self._open is not None
        self._open.delete_study(study)
        return self._open

    def refuse(self, study: int, name: str) -> BaseStorage:
        """Raises StorageError: what another experiment wrote there is its own."""
        raise StorageError(
            f"it holds a study '{name}' of another launch, which stays as it is; launch under another name,"
            f" or remove it with `optuna delete-study --study-name {name} --storage {self._url}`"
        )

    def flush(self) -> None:
        """Nothing: a database has each line at once."""

    def close(self) -> None:
        """Lets go of the connection."""
        if self._open is not None:
            self._open.remove_session()
            self._open.engine.dispose()


def with_driver(url: str) -> str:
    """`postgresql://` with the driver of our extra, whatever SQLAlchemy's own default is."""
    scheme, _, rest = url.partition("://")
    return f"postgresql+psycopg://{rest}" if scheme == "postgresql" else url


def require_driver(url: str) -> None:
    """Raises StorageError where the package that speaks to such a database is not installed."""
    try:
        create_engine(with_driver(url)).dispose()
    except (ImportError, NoSuchModuleError) as error:
        postgres = url.startswith("postgresql")
        way = "pip install 'adaptertune[postgres]'" if postgres else "install the package that it names"
        raise StorageError(f"views.optuna: {url} needs a package that is missing ({error}); {way}") from error
    except ArgumentError as error:
        raise StorageError(f"views.optuna: {url} is no URL of a database: {error}") from error
