"""A designed experiment with real training, interrupted and resumed, through the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tuning.ledger.ledger import LEDGER, read_history
from tuning.ledger.outcomes import Ending, Outcome

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]

FILE = """
name: small
task: segmentation
data: {embedded: {train: 32, validation: 16, test: 16, side: 32}}
objective: {metric: dice}
trial: {epochs: 2, batch_size: 16, adapter: lora}
space:
  learning_rate: {float: [1e-3, 1e-2], log: true}
  lora.rank: {choice: [4, 8]}
search: {random: {}, trials: 2}
"""


def start(cwd: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = os.environ | {"ADAPTERTUNE_CACHE": str(cwd / "cache"), "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "tuning.cli", *arguments],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def adaptertune(cwd: Path, *arguments: str) -> str:
    out, said = (process := start(cwd, *arguments)).communicate()
    assert process.returncode == 0, out + said
    return out


def reports(folder: Path) -> int:
    path = folder / LEDGER
    return path.read_bytes().count(b'"kind":"report"') if path.is_file() else 0


def test_a_freezing_ablation_is_cut_off_and_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(FILE)
    adaptertune(tmp_path, "launch", "small.yaml")
    asked = ("ablate", "small", "--study", "freezing", "--levels", "head_only,frozen,full", "--seeds", "2")
    folder = tmp_path / "experiments" / "small-ablate-freezing"
    process = start(tmp_path, *asked)
    while reports(folder) < 3 and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, said = process.communicate()
    assert process.returncode == 130, out + said
    assert "To continue, run the same command" in said
    before = read_history(folder)
    assert before.closed is not None
    assert before.closed.reason is Ending.INTERRUPTED

    out = adaptertune(tmp_path, *asked)
    history = read_history(folder)
    trials = list(history.trials.values())
    assert [trial.outcome for trial in trials] == [Outcome.COMPLETED] * 6
    assert {(t.params["freezing"], t.params["seed"]) for t in trials} == {
        (mode, seed) for mode in ("head_only", "frozen", "full") for seed in (1, 2)
    }
    for number, trial in before.trials.items():  # nothing that was reported is trained again
        kept = [(r.epoch, r.metrics) for r in trial.reports]
        assert [(r.epoch, r.metrics) for r in history.trials[number].reports][: len(kept)] == kept
    assert len({trial.value for trial in trials}) == 6  # a seed varies the training at every level
    assert "test dice" in out
    assert "Over test images, mean of 2 models each: dice: " in out

    found = json.loads(adaptertune(tmp_path, "ablation", folder.name, "--format", "json"))
    assert found["images"] == "test"
    assert all(run["test"] is not None for run in found["runs"])
    trained = {run["level"]: run["trainable"] for run in found["runs"]}
    assert trained["head_only"] < trained["frozen"] < trained["full"]


@pytest.mark.exhaustive
def test_adapters_meet_at_equal_parameters_and_the_levels_are_retuned(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(FILE)
    adaptertune(tmp_path, "launch", "small.yaml", "--set", "scoring.trials=none")
    adaptertune(
        tmp_path, "ablate", "small", "--study", "adapters", "--levels", "lora,loha,serial_lora",
        "--seeds", "1", "--retune", "learning_rate", "--trials", "2",
    )  # fmt: skip
    folder = tmp_path / "experiments" / "small-ablate-adapters"
    trials = list(read_history(folder).trials.values())
    weights = {t.params["adapter"]: (t.parameters or {})["adapter"] for t in trials}
    assert set(weights) == {"lora", "loha", "serial_lora"}
    assert max(weights.values()) <= 1.05 * min(weights.values())
    tuned = read_history(tmp_path / "experiments" / "small-ablate-adapters-retune")
    assert len(tuned.trials) == 6
    assert not tuned.scores  # validation images decide
    for trial in trials:
        of = [t for t in tuned.trials.values() if t.params["adapter"] == trial.params["adapter"]]
        best = max(of, key=lambda t: t.value or 0.0)
        assert trial.params["learning_rate"] == best.params["learning_rate"]
