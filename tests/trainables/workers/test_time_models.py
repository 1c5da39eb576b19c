"""Timing the kept weights of several trials in a worker."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.remote_call import call_by_name
from tests.trainables.conftest import config, workload
from trainables.preparation import prepare_workload
from trainables.specs.job import TimingJob
from trainables.specs.workload import Task
from trainables.training.checkpoint import save_weights
from trainables.training.engine import Engine
from trainables.workers.time_models import time_models
from tuning.run.timing import TIMER

FROZEN = '{"adapter": "lora", "epochs": 1, "batch_size": 8, "learning_rate": 0.01}'
FASTER = '{"adapter": "lora", "epochs": 2, "batch_size": 4, "learning_rate": 0.02}'
WIDER = '{"adapter": "lora", "lora": {"rank": 32}, "epochs": 1, "batch_size": 8}'
HEAD = '{"adapter": "none", "epochs": 1, "batch_size": 8}'
FULL = '{"adapter": "none", "freezing": "full", "epochs": 1, "batch_size": 8}'


@pytest.fixture(scope="module")
def engine() -> Engine:
    shared = workload(Task.SEGMENTATION)
    return Engine(shared, prepare_workload(shared), device="cpu")


def job(engine: Engine, folder: Path, texts: list[str]) -> TimingJob:
    """Untrained models of these configurations: what they compute does not depend on their weights."""
    folders = {number: folder / f"{number:04d}" for number in range(len(texts))}
    for number, text in enumerate(texts):
        folders[number].mkdir()
        save_weights(engine.start(config(text)), folders[number] / "best.ckpt")
    return TimingJob(
        experiment=folder,
        workload=engine.workload,
        prepared=engine.data.path,
        threads=1,
        weights={number: str(path / "best.ckpt") for number, path in folders.items()},
        folders=folders,
    )


def test_trials_of_one_architecture_have_one_latency(engine: Engine, tmp_path: Path) -> None:
    asked = job(engine, tmp_path, [FROZEN, FASTER, WIDER, HEAD, FULL])
    assert TimingJob.model_validate_json(asked.model_dump_json()) == asked
    found = call_by_name(TIMER, asked).latency
    assert set(found) == {0, 1, 2, 3, 4}
    assert found[0] == found[1]  # they differ in their training only
    assert found[3] == found[4]
    assert len({id(x) for x in (found[0], found[2], found[3])}) == 3
    assert all(0 < x.low_ms <= x.median_ms <= x.high_ms for x in found.values())


def test_a_trial_without_weights_is_left_out_and_its_log_says_why(engine: Engine, tmp_path: Path) -> None:
    asked = job(engine, tmp_path, [FROZEN, HEAD])
    (tmp_path / "0000" / "best.ckpt").write_bytes(b"nonsense")
    found = time_models(asked)
    assert set(found.latency) == {1}
    assert "its latency is not measured" in (tmp_path / "0000" / "log.txt").read_text()


def test_data_that_are_gone_are_a_reason(engine: Engine, tmp_path: Path) -> None:
    asked = job(engine, tmp_path, [FROZEN]).with_prepared(tmp_path / "gone")
    found = time_models(asked)
    assert found.latency == {}
    assert found.reason
