"""Fixtures for tests of resumes whose data have moved or changed."""

from __future__ import annotations

from pathlib import Path

import pytest
from begun_sweeps import Begun


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("ADAPTERTUNE_CACHE", str(folder))
    return folder


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory, ray_once: None) -> Begun:
    return Begun(tmp_path_factory.mktemp("begun"))
