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
def test_pareto_holds_quality_against_each_cost(run: Run) -> None:
    for cost, words in (
        ("parameters", "trainable parameters"),
        ("seconds", "seconds of training"),
        ("peak_mb", "peak memory in MB"),
        ("latency_ms", "milliseconds an image"),
    ):
        assert words in run("pareto", "ranked", "--cost", cost).stdout
    assert "Left out, or without milliseconds an image on record: 29 completed" in " ".join(
        run("pareto", "ranked", "--cost", "latency_ms").stdout.split()
    )
    said = json.loads(run("pareto", "ranked", "--cost", "latency_ms", "--format", "json").stdout)
    params = said["trials"][0]["params"]
    assert said["trials"] == [
        {
            "trial": 4,
            "value": 0.1,
            "collapsed": None,
            "cost": 2.5,
            "cost_range": None,
            "front": True,
            "params": params,
        }
    ]
    assert len(json.loads(run("pareto", "ranked", "--format", "json").stdout)["trials"]) == 30


def test_an_unknown_metric_or_cost_is_an_error(run: Run) -> None:
    assert "no metric 'dise'" in run("pareto", "digits", "--metric", "dise", code=2).stderr
    assert "'money' is not one of" in run("pareto", "digits", "--cost", "money", code=2).stderr
