"""Fixtures for tests of trained weights."""

from __future__ import annotations

from pathlib import Path

import pytest
from trained_runs import cached, train_here


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that `train` wrote."""
    with cached(tmp_path_factory):
        return train_here(tmp_path_factory.mktemp("runs") / "one", "segmentation")
