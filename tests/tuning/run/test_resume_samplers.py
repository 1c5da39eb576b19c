"""A sweep with each sampler, interrupted and resumed, equals the uninterrupted one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from marks import exhaustive, slow
from samplers import CASES
from scripted import Scripted, essence, experiment
from spaces import BELIEVED, NUMBERS

from tuning.ledger.ledger import LEDGER, read_history
from tuning.ledger.outcomes import Outcome
from tuning.run.launch import launch_experiment
from tuning.run.resume import resume_experiment

pytestmark = pytest.mark.usefixtures("ray_once")

IN_TEST = "qmc"
"""The one that `make test` tries; `make test-slow` tries others."""
IN_SLOW = ("NSGAIIISampler", "tpe, priors and a scaled rate")
IN_EXHAUSTIVE = ("gp", "cmaes", "nsga2")
ASHA = {"asha": {"grace_epochs": 1.0, "reduction_factor": 3.0}}


@pytest.mark.parametrize("name", [IN_TEST, *map(slow, IN_SLOW), *map(exhaustive, IN_EXHAUSTIVE)])
def test_a_resumed_sweep_is_equal_whatever_its_sampler(name: str, tmp_path: Path, prepared: Path) -> None:
    parts: dict[str, Any] = {
        "search": CASES[name.partition(",")[0]] | {"trials": 10, "seed": 3},
        "scheduler": ASHA,
        "resources": {"concurrent": 1},
    }
    if name == "cmaes":
        parts["space"] = NUMBERS.model_dump(mode="json")
    if "priors" in name:
        space = BELIEVED.model_dump(mode="json")
        space["learning_rate"][0]["scale_with"] = "lora.rank"
        parts["space"] = space
    of = experiment(**parts)
    whole = launch_experiment(of, tmp_path, trainable=Scripted, prepare=lambda _: prepared).folder
    expected = essence(whole)
    assert {Outcome.COMPLETED, Outcome.PRUNED} <= {t.outcome for t in read_history(whole).trials.values()}
    lines = (whole / LEDGER).read_bytes().split(b"\n")
    folder = tmp_path / "cut" / whole.name
    folder.mkdir(parents=True)
    (folder / LEDGER).write_bytes(b"\n".join(lines[: len(lines) // 2]) + b"\n")
    resume_experiment(folder, trainable=Scripted, prepare=lambda _: prepared)
    assert essence(folder) == expected


@pytest.mark.slow
def test_a_resume_says_that_a_sampler_is_not_replayable(
    tmp_path: Path, prepared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    search = {"optuna": {"sampler": "RandomSampler", "replayable": False}, "trials": 2}
    of = experiment(search=search, resources={"concurrent": 1})
    whole = launch_experiment(of, tmp_path, trainable=Scripted, prepare=lambda _: prepared).folder
    assert "replayable" not in capsys.readouterr().err
    resume_experiment(whole, trials=3, trainable=Scripted, prepare=lambda _: prepared)
    assert "search.optuna: RandomSampler is not replayable, so what it proposes" in capsys.readouterr().err
