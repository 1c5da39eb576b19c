from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from recorded import LORA, Told, write
from typer.testing import Result


def test_list_shows_the_state_and_the_best_of_each_experiment(
    run: Callable[..., Result], storage: Path
) -> None:
    write(storage / "dead", (Told(LORA, (0.4,), None),), closed=None)
    listed = run("list").stdout
    assert "digits" in listed
    assert "best dice 0.7500 (trial 0)" in listed
    assert "died" in listed
    assert "no experiments" in run("list", "--storage", str(storage / "none")).stdout
