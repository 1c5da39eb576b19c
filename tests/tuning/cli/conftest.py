"""Fixtures for tests of the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from recorded import LORA, Told, write

from tuning.ledger.outcomes import Outcome


@pytest.fixture
def live(tmp_path: Path) -> Path:
    """A sweep that runs: one trial completed, one pruned, one running."""
    trials = (
        Told(LORA | {"learning_rate": 0.005, "lora.rank": 8}, (0.3, 0.5, 0.6, 0.7, 0.75, 0.72)),
        Told(LORA | {"learning_rate": 0.002, "lora.rank": 4}, (0.4, 0.5), Outcome.PRUNED),
        Told(LORA | {"learning_rate": 0.003, "lora.rank": 4}, (0.8, 0.7), None),
    )
    return write(tmp_path / "live", trials, closed=None)
