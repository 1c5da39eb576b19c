"""Designed experiments whose sweeps are scripted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from scripted import Scripted

from tuning.experiment.spec import Experiment
from tuning.run.driver import LaunchResult
from tuning.run.launch import launch_experiment
from tuning.run.resume import resume_experiment


class Noisy(Scripted):
    """A larger rank is better, and each seed adds a small offset; the metric is called dice."""

    def value(self, epoch: float) -> float:
        rank = getattr(self.trial.section, "rank", 1)
        noise = (self.trial.seed * 7 % 5) / 100 + (rank * self.trial.seed % 3) / 1000
        return super().value(epoch) / 2 + 0.01 * rank + noise

    def step(self) -> dict[str, Any]:
        result = super().step()
        result["report"]["metrics"] = {"dice": result["report"]["metrics"]["map"]}
        return result | {"baseline": None}


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch, prepared: Path) -> list[str]:
    """Run the command's sweeps as scripted ones; return the names of those that were launched or resumed."""
    began: list[str] = []

    def run_scripted(asked: Experiment, storage: Path, address: str | None) -> LaunchResult:
        began.append(asked.name)
        return launch_experiment(asked, storage, trainable=Noisy, prepare=lambda _: prepared)

    def resume_scripted(folder: Path, **_: Any) -> LaunchResult:
        began.append(f"again {folder.name}")
        return resume_experiment(folder, trainable=Noisy, prepare=lambda _: prepared)

    monkeypatch.setattr("tuning.cli.ablations.run_plan.run_sweep", run_scripted)
    monkeypatch.setattr("tuning.cli.ablations.run_plan.resume_sweep", resume_scripted)
    return began
