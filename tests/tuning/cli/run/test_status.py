from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from recorded import LORA, Told, write
from typer.testing import Result


def test_status_shows_trials_by_state_and_failures(run: Callable[..., Result], storage: Path) -> None:
    write(storage / "dead", (Told(LORA, (0.4,), None),), closed=None)
    out = run("status", "digits").stdout
    assert "2 completed" in out
    assert "finished" in out
    assert "trial 3 diverged: the loss is not finite at epoch 2" in out
    assert "the driver died" in run("status", "dead", "--watch").stdout


def test_status_of_a_scored_sweep_names_trials_without_a_score(
    run: Callable[..., Result], shifted: Path
) -> None:
    assert "trial 2 could not be scored on test images: best.ckpt is gone" in run("status", "shifted").stdout
