"""Scoring a trial's kept weights in a worker: the same figures as the engine gives the trial's own model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cluster.call import call
from tests.trainables.conftest import config, run, workload
from trainables.checkpoint import save_weights
from trainables.data.specs import DataSpec
from trainables.engine import Engine
from trainables.preparation import prepare_workload
from trainables.scorer import score_trial
from trainables.scoring import score, score_untouched
from trainables.workload import Task, Workload
from tuning.scoring import SCORER

LORA = '{"adapter": "lora", "epochs": 1, "batch_size": 8, "learning_rate": 0.01}'
FULL = '{"adapter": "none", "freezing": "full", "epochs": 1, "batch_size": 8, "learning_rate": 0.001}'


@pytest.fixture(scope="module")
def shared() -> Workload:
    plain = workload(Task.SEGMENTATION)
    data = plain.data.model_dump(mode="json", exclude_none=True)
    data["domains"] = {"noise": {"corruption": {"kind": "noise", "severity": 3}}}
    return plain.model_copy(update={"data": DataSpec.model_validate_json(json.dumps(data))})


@pytest.fixture(scope="module")
def engine(shared: Workload) -> Engine:
    return Engine(shared, prepare_workload(shared), device="cpu")


def job(engine: Engine, weights: Path | None) -> dict[str, Any]:
    return {
        "trial": None if weights is None else 0,
        "weights": None if weights is None else str(weights),
        "workload": engine.workload.model_dump_json(),
        "prepared": str(engine.data.path),
        "threads": 1,
    }


@pytest.mark.parametrize("text", [LORA, FULL])
def test_kept_weights_score_as_the_model_did(engine: Engine, tmp_path: Path, text: str) -> None:
    state = engine.start(config(text))
    run(engine, state)
    save_weights(state, tmp_path / "best.ckpt")
    said = score_trial(job(engine, tmp_path / "best.ckpt"))
    expected = score(engine, state.model, state.config)
    assert said == {
        "metrics": expected.test,
        "domains": expected.domains,
        "robustness": expected.robustness,
    }
    assert set(said["domains"]) == {"noise"}
    assert said["metrics"]["dice"] > 0
    assert said["robustness"]["noise"] == said["domains"]["noise"]["dice"] / said["metrics"]["dice"]
    assert "domain noise" in (tmp_path / "log.txt").read_text()


def test_the_untouched_model_scores_too(engine: Engine) -> None:
    expected = score_untouched(engine)
    assert expected is not None
    said = call(SCORER, job(engine, None))  # by the name that a Ray task gets
    assert said["metrics"] == expected.test


def test_weights_that_are_gone_or_damaged_are_a_reason_and_a_traceback_in_the_log(
    engine: Engine, tmp_path: Path
) -> None:
    gone = score_trial(job(engine, tmp_path / "best.ckpt"))
    assert set(gone) == {"reason"}
    assert "cannot read the checkpoint" in gone["reason"]
    assert "Traceback" in (tmp_path / "log.txt").read_text()
    (tmp_path / "best.ckpt").write_bytes(b"nonsense")
    assert "damaged" in score_trial(job(engine, tmp_path / "best.ckpt"))["reason"]
