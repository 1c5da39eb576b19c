"""Marks of single values of a parametrized test."""

from __future__ import annotations

from typing import Any

import pytest


def slow(*values: Any, id: str | None = None) -> Any:
    """Values that `make test-slow` runs; the others of the test are its sample in `make test`."""
    return pytest.param(*values, id=id, marks=pytest.mark.slow)


def exhaustive(*values: Any, id: str | None = None) -> Any:
    """Values that `make test-exhaustive` runs; the others of the test are its sample in CI."""
    return pytest.param(*values, id=id, marks=pytest.mark.exhaustive)
