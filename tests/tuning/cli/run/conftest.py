"""Fixtures for tests of commands that run sweeps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """An experiment file."""
    path = tmp_path / "nuclei.yaml"
    path.write_text(
        "name: nuclei\n"
        "task: segmentation\n"
        "objective: {metric: dice}\n"
        "trial: {epochs: 4}\n"
        "space:\n"
        "  adapter: {choice: [lora, loha]}\n"
        "  learning_rate: {float: [1e-4, 1e-2], log: true}\n"
        "search: {trials: 8}\n"
    )
    return path


@pytest.fixture
def training(storage: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Small enough for two cores that others use too."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setenv("ADAPTERTUNE_CACHE", str(storage / "cache"))
    yield
    torch.set_num_threads(before)
