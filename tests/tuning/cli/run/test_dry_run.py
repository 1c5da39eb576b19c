from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result


@pytest.mark.usefixtures("training")
def test_a_dry_run_measures_each_kind_of_adapter(run: Callable[..., Result], storage: Path) -> None:
    small = ("--set", "data.embedded={train: 16, validation: 4, test: 1}", "--set", "trial.batch_size=4")
    space = ("--set", "space={adapter: {choice: [none, lora]}, learning_rate: {float: [1e-3, 1e-2]}}")
    out = run("launch", "quickstart", "--dry-run", "--trials", "4", *small, *space).stdout
    assert "head_only" in out
    assert "trials  4, " in out
    assert " in parallel" in out
    assert "a trial, about" in out
    assert not (storage / "quickstart").exists()
