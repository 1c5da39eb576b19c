"""`NAME:best:METRIC` in commands that take `NAME:best`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from recorded import LORA, Told, write
from typer.testing import Result

from trainables.run_folder import BEST_WEIGHTS
from tuning.cli.find_adapter import find_adapter
from tuning.cli.run.named_trial import named_trial
from tuning.cli.run.train import _recorded_trial
from tuning.ledger.requests import read_request, requests_in
from tuning.ledger.storage import trial_folder

Run = Callable[..., Result]
SETTINGS = [LORA | {"learning_rate": rate, "lora.rank": 8} for rate in (0.002, 0.004)]


@pytest.fixture
def folder(storage: Path) -> Path:
    """Trial 0 is the best by Dice, trial 1 by IoU."""
    told = [
        Told(params, (0.3, dice), also={"iou": iou})
        for params, dice, iou in zip(SETTINGS, (0.8, 0.7), (0.5, 0.6), strict=True)
    ]
    made = write(storage / "two", told)
    for number in (0, 1):
        trial_folder(made, number).mkdir(parents=True, exist_ok=True)
        (trial_folder(made, number) / BEST_WEIGHTS).touch()
    return made


def test_the_metric_decides_which_trial_is_meant(storage: Path, folder: Path) -> None:
    for text, number in (("two:best", 0), ("two:best:dice", 0), ("two:best:iou", 1)):
        assert named_trial(text, storage, "extend")[1] == number
        assert _recorded_trial(text, storage)[1] == SETTINGS[number]


def test_commands_pass_it_on(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("clone", "two:best:iou", "--set", "lora.rank=16")
    (path,) = requests_in(folder)
    assert read_request(path).of == 1
    taken: list[int] = []
    monkeypatch.setattr("tuning.cli.find_adapter.adapter_of_trial", lambda _, number: taken.append(number))
    for text in ("two", "two:best:iou"):
        find_adapter(text, folder.parent)
    assert taken == [0, 1]
    shown = run("ablate", "two:best:iou", "--over", "lora.rank", "--levels", "4,8", "--dry-run").stdout
    assert "as in trial 1 of two" in " ".join(shown.split())
    assert "trials/0001/test" in run("compare", "two:best:iou", "two:0").stdout, "what it lacks"


def test_a_metric_that_is_not_recorded_is_an_error_with_those_that_are(run: Run, folder: Path) -> None:
    for command in (
        ["export", "two:best:iuo", "--to", "out"],
        ["clone", "two:best:iuo", "--set", "lora.rank=4"],
    ):
        said = run(*command, code=2).stderr
        assert "no metric 'iuo' in two; recorded are" in " ".join(said.split())
