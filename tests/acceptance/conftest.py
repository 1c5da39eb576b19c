"""A browser for the tests of pages, and a place for sweeps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browsers import chromium
from chaos import Place


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without a window; Debian's is installed for this if possible."""
    from playwright.sync_api import sync_playwright

    place = chromium()
    if place is None:
        pytest.skip("Chromium is not installed, and cannot be by this user")
    with sync_playwright() as started:
        opened = started.chromium.launch(executable_path=place, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A storage folder and a cache of its own."""
    (tmp_path / "storage").mkdir()
    (tmp_path / "cache").mkdir()
    return Place(tmp_path / "storage", tmp_path / "cache")
