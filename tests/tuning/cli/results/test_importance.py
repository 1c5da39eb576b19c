from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from recorded import LORA, SCORES, Told, write
from typer.testing import Result

Run = Callable[..., Result]


@pytest.fixture
def ranked(storage: Path) -> None:
    """Thirty trials in which only the learning rate matters; some were scored."""
    told = [
        Told(
            LORA | {"lora.rank": 4 << number % 3, "learning_rate": 1e-3 * (1 + number / 10)},
            (number / 40,) * 6,
        )
        for number in range(30)
    ]
    write(storage / "ranked", told, scores=SCORES)


@pytest.mark.usefixtures("ranked")
def test_importance_names_the_setting_that_decides(run: Run) -> None:
    out = run("importance", "ranked").stdout
    assert "observational" in out
    assert "No significant interaction in 1 pair of settings." in out
    said = json.loads(run("importance", "ranked", "--format", "json").stdout)
    assert said["settings"][0]["setting"] == "learning_rate"
    assert [one["setting"] for one in said["settings"] if one["shown"]] == ["learning_rate"]
    assert [(pair["first"], pair["second"], pair["shown"]) for pair in said["interactions"]] == [
        ("lora.rank", "learning_rate", False)
    ]
    assert (said["trials"], said["epoch"], said["among"]) == (30, 6.0, 30)


def test_too_few_trials_and_an_unknown_name_are_errors(run: Run) -> None:
    assert "importance needs at least 10" in run("importance", "digits", code=2).stderr
    assert "no experiment 'digit'" in run("importance", "digit", code=2).stderr
