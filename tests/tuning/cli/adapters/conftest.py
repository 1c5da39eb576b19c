"""Fixtures for tests of trained adapters: adapters that were trained in a second or two."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from digit_masks import write_masks
from recorded import write
from trained_runs import cached, train_here

DATA = """embedded: {domain: clean, train: 16, validation: 4, test: 4}
  domains: {noisy: {embedded: noisy}, faint: {corruption: {kind: contrast, severity: 4}}}"""


@pytest.fixture(scope="package")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two runs of `train`, and an experiment in which trials 0 and 2 kept weights."""
    with cached(tmp_path_factory):
        root = tmp_path_factory.mktemp("storage")
        cells = train_here(root / "trained" / "cells", "segmentation", data=DATA)
        train_here(root / "trained" / "boxes", "detection")
        folder = write(root / "digits")
        for number in (0, 2):
            (folder / "trials" / f"{number:04d}").mkdir(parents=True)
            shutil.copy(cells / "best.ckpt", folder / "trials" / f"{number:04d}")
        yield root


@pytest.fixture
def images(tmp_path: Path) -> Path:
    write_masks(tmp_path / "scenes", "a, b", tuple(range(11)))
    return tmp_path / "scenes" / "validation" / "images"
