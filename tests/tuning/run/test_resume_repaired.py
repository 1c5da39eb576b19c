"""A copy that `repair` wrote of a damaged record is resumed to its end; the original stays as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from scripted import Scripted, experiment

from tuning.ledger.ledger import LEDGER, read_history
from tuning.ledger.outcomes import Ending
from tuning.ledger.repaired_copy import examine_record, write_copy
from tuning.run.launch import launch_experiment
from tuning.run.resume import resume_experiment

PARTS: dict[str, Any] = {
    "search": {"trials": 6, "seed": 5, "tpe": {"startup_trials": 3}},
    "scheduler": {"asha": {"grace_epochs": 1.0, "reduction_factor": 3.0}},
    "resources": {"concurrent": 1},
}

pytestmark = pytest.mark.usefixtures("ray_once")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> Path:
    """The folder of an uninterrupted sweep."""
    storage = tmp_path_factory.mktemp("whole")
    return launch_experiment(
        experiment(**PARTS), storage, trainable=Scripted, prepare=lambda _: prepared
    ).folder


@pytest.mark.parametrize("damaged", ['"kind":"report","trial":2', '"kind":"started","trial":1'])
def test_a_repaired_copy_is_resumed_to_its_end(
    whole: Path, tmp_path: Path, prepared: Path, damaged: str
) -> None:
    folder = tmp_path / whole.name
    folder.mkdir()
    lines = (whole / LEDGER).read_bytes().splitlines(keepends=True)
    number = next(i for i, line in enumerate(lines) if damaged.encode() in line)
    lines[number] = b"#" * 20 + lines[number][20:]
    (folder / LEDGER).write_bytes(b"".join(lines))
    found = examine_record(folder)
    assert found.left_out[0].number == number + 1
    write_copy(folder, copy := tmp_path / "copy", found)
    before = read_history(copy)
    result = resume_experiment(copy, trials=7, trainable=Scripted, prepare=lambda _: prepared)
    assert result.outcome is Ending.FINISHED
    history = read_history(copy)
    assert max(history.trials) == 6
    assert all(trial.over for trial in history.trials.values())
    assert before.trials.keys() < history.trials.keys()
    for kept, trial in before.trials.items():
        if trial.over:
            assert history.trials[kept] == trial
    assert (folder / LEDGER).read_bytes() == b"".join(lines)
