"""A real worker that is killed while it measures the pretrained baseline."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from cluster.ray_worker import Worker
from trainables.run_folder import BASELINE_CLAIM
from trainables.training.engine import Engine
from tuning.experiment.load import experiment_of_text
from tuning.ledger.ledger import read_records
from tuning.ledger.outcomes import Outcome
from tuning.ledger.records import BaselineRecord
from tuning.run.launch import launch_experiment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200), pytest.mark.usefixtures("ray_once")]

FILE = """
name: lost
task: segmentation
data: {embedded: {domain: inverted, train: 24, validation: 8, test: 4}}
objective: {metric: dice}
trial: {epochs: 1, batch_size: 8, adapter: lora}
space:
  learning_rate: {choice: [1e-3, 2e-3]}
search: {grid: {}}
resources: {concurrent: 2, PACKING}
scoring: {trials: none}
retries: 1
"""


def kill_in_the_first_baseline(experiment: Path) -> None:
    """This worker's process dies by `kill -9` in its measurement, unless one has died before."""
    measure, died = Engine.baseline_metrics, experiment / "died"

    def measured(engine: Engine) -> dict[str, float] | None:
        if not died.exists():
            died.write_text((experiment / BASELINE_CLAIM).read_text())
            os.kill(os.getpid(), signal.SIGKILL)
        return measure(engine)

    Engine.baseline_metrics = measured  # type: ignore[method-assign]


class Dies(Worker):
    def setup(self, config: dict[str, Any]) -> None:
        kill_in_the_first_baseline(config["job"].experiment)
        super().setup(config)


class DiesInAPack(Dies):
    takes_packs = True


@pytest.mark.parametrize(("trainable", "packing"), [(Dies, '"off"'), (DiesInAPack, "2")])
def test_the_sweep_still_gets_its_baseline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trainable: type[Any], packing: str
) -> None:
    monkeypatch.setenv("ADAPTERTUNE_CACHE", str(tmp_path / "cache"))
    asked = experiment_of_text(FILE.replace("PACKING", f"packing: {packing}"), "lost.yaml")
    result = launch_experiment(asked, tmp_path, trainable=trainable)
    assert [trial.outcome for trial in result.history.trials.values()] == [Outcome.COMPLETED] * 2
    number = int((result.folder / "died").read_text())
    assert result.history.trials[number].starts == 2
    assert len([r for r in read_records(result.folder) if isinstance(r, BaselineRecord)]) == 1
