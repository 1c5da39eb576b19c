from __future__ import annotations

from pathlib import Path

import pytest
from recorded import write

from analysis.ablation.design import Base, choose_base
from analysis.query.sweep import Sweep


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("storage") / "digits")


@pytest.fixture(scope="session")
def sweep(folder: Path) -> Sweep:
    return Sweep.at(folder)


@pytest.fixture(scope="session")
def base(sweep: Sweep) -> Base:
    """The base of ablations of `sweep`."""
    return choose_base(sweep)
