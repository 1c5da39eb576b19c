"""A page of two sweeps, of which the first runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from recorded import LORA, Told, write
from starlette.testclient import TestClient

from tuning.cli.live.app import live_app
from tuning.cli.live.guard import FORM_HEADER, Secrets
from tuning.cli.live.sweeps import LiveSweeps
from tuning.ledger.driver_state import LOCK

RUNNING = (
    Told(LORA | {"learning_rate": 0.005, "lora.rank": 8}, (0.3, 0.5, 0.6)),
    Told(LORA | {"learning_rate": 0.002, "lora.rank": 4}, (0.4, 0.5), None),
)


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[list[Path]]:
    """`live`, which a driver runs, and `done`."""
    live, done = write(tmp_path / "live", RUNNING, closed=None), write(tmp_path / "done")
    with FileLock(live / LOCK):
        yield [live, done]


class Served:
    """The application, and a client with its cookie and its form's secret."""

    def __init__(self, folders: list[Path], **given: object) -> None:
        self.secrets = Secrets(8520)
        self.sweeps = LiveSweeps(folders)
        named = {"host": "127.0.0.1", "read_only": False, "ending": self.ending} | given
        self.looks = 0
        self.app = live_app(self.sweeps, self.secrets, **named)  # type: ignore[arg-type]
        self.client = self.fresh()
        self.client.cookies.set(self.secrets.cookie, self.secrets.token)
        self.client.headers[FORM_HEADER] = self.secrets.form

    def fresh(self) -> TestClient:
        """A client that knows nothing."""
        return TestClient(self.app, base_url="http://127.0.0.1:8520")

    def ending(self) -> bool:
        """A server that ends when a viewer has been sent one event."""
        self.looks += 1
        return self.looks > 1


@pytest.fixture
def served(folders: list[Path]) -> Served:
    return Served(folders)
