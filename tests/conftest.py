"""Fixtures are in the folders below; `pythonpath` in pyproject.toml adds `tests/support` to the path."""

from __future__ import annotations

import os

import pytest

os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's is 15: workers would wait for all other tests


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option of `tests/tuning/cli/cluster/test_golden.py`."""
    parser.addoption("--write-golden", action="store_true", help="write the golden job files anew")
