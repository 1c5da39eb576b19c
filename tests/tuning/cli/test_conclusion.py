from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ablations import ran
from recorded import LORA, Told, write
from typer.testing import Result

from tuning.cli.conclusion import print_conclusion
from tuning.ledger.outcomes import Ending, Outcome
from tuning.run.driver import LaunchResult


def launched(
    monkeypatch: pytest.MonkeyPatch, folder: Path, outcome: Ending, number: int | None = None
) -> None:
    from tuning.ledger.ledger import read_history
    from tuning.run.driver import LaunchResult

    def fake(*_: Any, **__: Any) -> LaunchResult:
        return LaunchResult(folder, outcome, read_history(folder), number)

    monkeypatch.setattr("tuning.cli.run.run_with_progress.run_sweep", fake)


def test_a_launch_ends_with_table_best_and_picture(
    run: Callable[..., Result], storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched(monkeypatch, storage / "digits", Ending.FINISHED)
    out = run("launch", "quickstart", "--name", "new", "--then-ablate", "freezing").stdout
    assert "by adapter and freezing" in out
    assert "pretrained baseline" in out
    assert "observational" in out
    assert "best configuration: trial 0, dice 0.7500 at epoch 5 of 6" in out
    assert "better than the pretrained baseline: dice 0.0100 before, 0.7500 after" in out
    assert (storage / "digits" / "learning_curves.png").stat().st_size > 10_000


def test_a_launch_with_domains_ends_with_their_table(
    run: Callable[..., Result], shifted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched(monkeypatch, shifted, Ending.FINISHED)
    out = run("launch", "quickstart", "--name", "new").stdout
    assert "in domain and shifted" in out
    assert "the same weights on test images: dice 0.7000" in out
    assert "trial 2 could not be scored" in out
    assert f"adaptertune domains {shifted.name}" in out


ENDINGS = pytest.mark.parametrize(
    ("number", "code"),
    [(None, 130), (signal.SIGINT, 130), (signal.SIGTERM, 75), (signal.SIGHUP, 75)],  # None: `stop`
)


@ENDINGS
def test_an_interrupted_launch_says_what_is_kept(
    run: Callable[..., Result], storage: Path, monkeypatch: pytest.MonkeyPatch, number: int | None, code: int
) -> None:
    launched(monkeypatch, storage / "digits", Ending.INTERRUPTED, number)
    assert "Kept in" in run("launch", "quickstart", "--name", "new", code=code).stderr


@ENDINGS
def test_a_launch_interrupted_before_its_first_trial_keeps_nothing(
    run: Callable[..., Result], storage: Path, monkeypatch: pytest.MonkeyPatch, number: int | None, code: int
) -> None:
    launched(monkeypatch, write(storage / "none", ()), Ending.INTERRUPTED, number)
    said = run("launch", "quickstart", "--name", "new", code=code).stderr
    assert "before the first trial; nothing is kept, and the name none is free" in said


def test_a_launch_without_any_value_fails(
    run: Callable[..., Result], storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = write(storage / "lost", (Told(LORA, (), Outcome.FAILED, "no such layer"),))
    launched(monkeypatch, lost, Ending.FINISHED)
    result = run("launch", "quickstart", "--name", "new", code=1)
    assert "no trial has a value" in result.stderr
    assert "trial 0 failed: no such layer" in result.stdout


VALUES = {4: {1: 0.50, 2: 0.52, 3: 0.51}, 8: {1: 0.60, 2: 0.63, 3: 0.60}}


def test_a_resumed_ablation_ends_with_its_result(storage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = ran(storage / "other", VALUES)
    print_conclusion(folder, None)
    out = capsys.readouterr().out
    assert "4 is worse than 8" in out
    assert "best configuration" not in out
