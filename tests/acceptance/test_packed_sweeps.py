"""Sweeps in packs and one trial after the other, by the command line: the same values, trial by trial."""

from __future__ import annotations

import math
from pathlib import Path

import command
import pytest

from tuning.ledger.history import History
from tuning.ledger.ledger import read_history

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SWEEP = """\
name: NAME
task: TASK
model: {name: embedded}
data:
  embedded: {domain: inverted, train: 48, validation: 24, test: 4}
objective: {metric: METRIC, value: last}
trial: {epochs: 2, batch_size: 8, freezing: frozen}
space:
  adapter: {choice: [lora, adalora, loha, serial_lora]}
  learning_rate: {float: [1e-3, 1e-2], log: true}
  lora.rank: {choice: [4, 8, 16]}
  lora.dropout: {choice: [0.0, 0.1]}
search: {random: {}, trials: 8, seed: 0}
scheduler: none
scoring: {trials: none}
resources: {packing: PACKING}
"""


def swept(folder: Path, task: str, metric: str, packing: str) -> History:
    name = f"packing-{packing}"
    text = SWEEP.replace("NAME", name).replace("TASK", task).replace("METRIC", metric)
    (folder / f"{name}.yaml").write_text(text.replace("PACKING", packing))
    given = {"ADAPTERTUNE_CACHE": str(folder / "cache")}
    command.adaptertune(folder, "launch", f"{name}.yaml", "--storage", str(folder), **given)
    return read_history(folder / name)


@pytest.mark.parametrize(("task", "metric"), [("segmentation", "loss"), ("detection", "loss")])
def test_values_are_those_of_trials_alone(tmp_path: Path, task: str, metric: str) -> None:
    packed, alone = (swept(tmp_path, task, metric, packing) for packing in ("auto", "off"))
    assert packed.trials.keys() == alone.trials.keys() == set(range(8))
    lanes = {number: max(r.lanes for r in trial.reports) for number, trial in packed.trials.items()}
    assert max(lanes.values()) > 1
    assert {r.lanes for trial in alone.trials.values() for r in trial.reports} == {1}
    for number, trial in packed.trials.items():
        other = alone.trials[number]
        assert trial.params == other.params
        assert trial.value is not None
        assert other.value is not None
        assert math.isclose(trial.value, other.value, abs_tol=1e-3), (number, trial.value, other.value)
