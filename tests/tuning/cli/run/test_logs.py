from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from typer.testing import Result


def test_logs_of_a_trial(run: Callable[..., Result], storage: Path) -> None:
    folder = storage / "digits" / "trials" / "0003"
    folder.mkdir(parents=True)
    (folder / "log.txt").write_text("12:00:00 epoch 1\n")
    assert run("logs", "digits:3").stdout == "12:00:00 epoch 1\n"
    assert "trial 1 of digits has no log" in run("logs", "digits:1", code=2).stderr
    assert "wrote no log" in run("logs", "digits", code=2).stderr
    said = run("logs", "digits:99", code=2).stderr
    assert "digits has no trial 99; it has 7 trials, numbered from 0" in said
    assert "did not run: it reuses trial 0" in run("logs", "digits:6", code=2).stderr
    best = storage / "digits" / "trials" / "0000"
    best.mkdir()
    (best / "log.txt").write_text("the best one's\n")
    assert run("logs", "digits:best").stdout == "the best one's\n"
