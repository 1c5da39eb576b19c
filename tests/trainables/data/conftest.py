from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A separate cache for every test."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("ADAPTERTUNE_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of public data sets next to the checkout."""
    folder = Path(__file__).resolve().parents[3] / "../shared/data"
    if not folder.is_dir():
        pytest.skip("there is no folder ../shared/data next to the checkout")
    return folder.resolve()
