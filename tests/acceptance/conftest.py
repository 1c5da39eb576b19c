"""A browser for the tests of pages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from browsers import chromium


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
