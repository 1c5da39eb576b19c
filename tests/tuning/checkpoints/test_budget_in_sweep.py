"""Whole sweeps that keep a budget of checkpoints: while they run, when they are scored, on a store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from scripted import Scripted, experiment

from trainables.errors import StorageError
from trainables.run_folder import BEST_WEIGHTS, LAST_STATE
from trainables.specs.job import ScoringJob, ScoringResult
from trainables.storage_paths import StorePath, place
from tuning.checkpoints.budget import Budget
from tuning.checkpoints.trained_adapter import adapter_of_trial, trials_with_weights
from tuning.ledger.ledger import read_history
from tuning.ledger.outcomes import Ending
from tuning.ledger.recorder import Halt
from tuning.ledger.records import Record, ReportRecord
from tuning.run.launch import launch_experiment
from tuning.run.resume import resume_experiment
from tuning.run.scoring import REMOVED

KB = 1e-6

ARGUMENTS: dict[str, Any] = {
    "trial": {"epochs": 2},
    "space": {"learning_rate": {"choice": [1e-5, 1e-4, 1e-3, 1e-2]}},
    "search": {"grid": {}},
    "resources": {"concurrent": 1},
}


class Saving(Scripted):
    """Writes files to the places of a real trainable's checkpoints."""

    def step(self) -> dict[str, Any]:
        result = super().step()
        at = place(self.job.checkpoints)
        if isinstance(at, Path):
            at.mkdir(parents=True, exist_ok=True)
        for name, size in ((LAST_STATE, 1000), (BEST_WEIGHTS, 100)):
            file = at / name
            file.write_bytes(bytes(size))
        return result


def by_size(job: ScoringJob) -> ScoringResult:
    assert job.folder is not None
    assert job.weights is not None
    assert job.folder.name == f"{job.trial:04d}"
    return ScoringResult(metrics={"map": float(len(place(job.weights).read_bytes()))})


@pytest.fixture
def given(tmp_path: Path) -> dict[str, Any]:
    """Replacements for training and scoring."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "meta.json").write_text('{"fingerprint": "f", "counts": {"train": 4, "test": 2}}')
    return {"trainable": Saving, "prepare": lambda _: tmp_path / "data", "scorer": by_size}


@pytest.mark.slow
@pytest.mark.usefixtures("ray_once")
def test_a_sweep_ends_within_its_budget_and_says_what_went(tmp_path: Path, given: dict[str, Any]) -> None:
    checkpoints = {"budget_gb": 0.25 * KB, "keep_best": 1}
    asked = experiment(**ARGUMENTS, checkpoints=checkpoints, scoring={"finalists": 2})
    folder = launch_experiment(asked, tmp_path, **given).folder
    history = read_history(folder)
    order = sorted(history.trials, key=lambda n: -(history.trials[n].value or 0.0))
    assert sum(path.stat().st_size for path in folder.glob("trials/*/*.ckpt")) <= 250
    # The two trials to be scored kept their weights until then, and afterwards.
    assert trials_with_weights(folder) == sorted(order[:2])
    scores = {n: score.metrics for n, score in history.scores.items() if n is not None}
    assert scores == {n: {"map": 100.0} for n in order[:2]}
    assert all(history.trials[n].removed == (LAST_STATE,) for n in order[:2])
    with pytest.raises(StorageError, match=r"to keep checkpoints.budget_gb; trials with weights: \d, \d"):
        adapter_of_trial(folder, order[-1])


@pytest.mark.usefixtures("ray_once")
def test_a_trial_whose_weights_have_gone_is_not_scored_and_it_is_said_why(
    tmp_path: Path, given: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Budget, "check", lambda self: self.finish())
    checkpoints = {"budget_gb": 0.15 * KB, "keep_best": 1}
    asked = experiment(**ARGUMENTS, checkpoints=checkpoints, scoring={"trials": "each"})
    history = read_history(launch_experiment(asked, tmp_path, **given).folder)
    scores = [score for number, score in history.scores.items() if number is not None]
    assert [score.reason for score in scores].count(REMOVED) == 3
    assert [score.metrics for score in scores if score.reason is None] == [{"map": 100.0}]


@pytest.mark.usefixtures("ray_once")
@pytest.mark.slow
def test_on_a_store_a_sweep_is_interrupted_resumed_scored_and_kept_within_its_budget(
    tmp_path: Path, given: dict[str, Any]
) -> None:
    to = f"file://{tmp_path}/store"
    checkpoints = {"to": to, "budget_gb": 1.15 * KB, "keep_best": 1}
    asked = experiment(**ARGUMENTS, checkpoints=checkpoints, scoring={"finalists": 1})

    def interrupt(record: Record) -> None:
        if isinstance(record, ReportRecord) and (record.trial, record.epoch) == (1, 1.0):
            raise Halt(Ending.INTERRUPTED)

    folder = launch_experiment(asked, tmp_path, on_event=interrupt, **given).folder
    assert [n for n, t in read_history(folder).trials.items() if not t.over] == [1]
    resume_experiment(folder, **given)
    history = read_history(folder)
    best = max(history.trials, key=lambda n: history.trials[n].value or 0.0)
    there = (StorePath.of(to) / "sweep" / "trials").files()
    assert sum(there.values()) <= 1150
    assert f"{best:04d}/{BEST_WEIGHTS}" in there
    assert history.scores[best].metrics == {"map": 100.0}
    assert list((folder / "trials").rglob("*.ckpt")) == []
    with pytest.raises(StorageError, match="another experiment 'sweep'"):
        launch_experiment(asked, tmp_path / "other", **given)
