"""Scoring a trial's saved weights in a worker: the same metrics as the engine's for the trial's model."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from PIL import Image

from cluster.remote_call import call_by_name
from tests.trainables.conftest import config, run, workload
from trainables.inference.score_on_test import score_baseline, score_model
from trainables.metrics.details import read_details
from trainables.metrics.per_image import read_per_image
from trainables.preparation import prepare_workload
from trainables.run_folder import image_results
from trainables.specs.data import DataSpec, Split
from trainables.specs.job import ScoringJob, ScoringResult
from trainables.specs.owner import Owner
from trainables.specs.workload import Task, Workload
from trainables.training.checkpoint import pack_weights, save_weights, write_packed
from trainables.training.engine import Engine
from trainables.workers.score_trial import score_trial
from tuning.run.scoring import SCORER

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


def job(engine: Engine, weights: Path | None) -> ScoringJob:
    """The job of a trial with weights in its own folder, or of the pretrained baseline."""
    return ScoringJob(
        experiment=engine.data.path.parent,
        workload=engine.workload,
        prepared=engine.data.path,
        threads=1,
        trial=None if weights is None else 0,
        folder=None if weights is None else weights.parent,
        weights=None if weights is None else str(weights),
    )


@pytest.mark.parametrize("text", [LORA, FULL])
def test_kept_weights_score_as_the_model_did(engine: Engine, tmp_path: Path, text: str) -> None:
    state = engine.start(config(text))
    run(engine, state)
    save_weights(state, tmp_path / "best.ckpt")
    said = score_trial(job(engine, tmp_path / "best.ckpt"))
    expected = score_model(engine, state.model, state.config)
    assert said == ScoringResult(
        metrics=expected.test,
        domains=expected.domains,
        robustness=expected.robustness,
        above_floor=expected.above_floor,
    )
    assert set(said.domains) == {"noise"}
    assert said.metrics["dice"] > 0
    assert said.robustness.keys() == {"noise"}
    assert "domain noise" in (tmp_path / "log.txt").read_text()


def test_results_by_image_give_the_reported_metrics_and_pictures_are_drawn(
    engine: Engine, tmp_path: Path
) -> None:
    state = engine.start(config(LORA))
    run(engine, state)
    save_weights(state, tmp_path / "best.ckpt")
    stale = image_results(tmp_path, "gone")
    stale.parent.mkdir()
    stale.write_bytes(b"of weights before these")
    said = score_trial(job(engine, tmp_path / "best.ckpt"))
    assert not stale.exists()
    details = read_details(tmp_path / "test" / "details.json")
    assert details is not None
    assert details.rows == engine.task.classes
    test = engine.data.splits[Split.TEST]
    assert details.confusion.sum() == sum(test.mask(i).size for i in range(len(test)))
    for domain, metrics in ((None, said.metrics), ("noise", said.domains["noise"])):
        results = read_per_image(image_results(tmp_path, domain))
        assert set(results.names) == set(engine.data.splits[Split.TEST].names)
        for name in results.metrics:
            if name in metrics:
                assert results.metric(name) == pytest.approx(metrics[name], abs=1e-9)
    listed = json.loads((tmp_path / "test" / "examples.json").read_text())
    assert [entry["domain"] for entry in listed] == [None] * 3 + ["noise"] * 3
    assert [entry["image"] for entry in listed[:3]] == [entry["image"] for entry in listed[3:]]
    for entry in listed:
        with Image.open(tmp_path / "test" / entry["file"]) as picture:
            assert picture.width > 2 * 500  # truth and prediction, side by side
    assert sum(path.stat().st_size for path in (tmp_path / "test").iterdir()) < 2_000_000


def test_metrics_do_not_depend_on_a_disk_that_takes_no_results(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = engine.start(config(LORA))
    run(engine, state)
    save_weights(state, tmp_path / "best.ckpt")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("trainables.workers.score_trial.write_per_image", full)
    monkeypatch.setattr("trainables.workers.score_trial.draw_examples", full)
    monkeypatch.setattr("trainables.workers.score_trial.write_details", full)
    assert score_trial(job(engine, tmp_path / "best.ckpt")).metrics["dice"] > 0
    log = (tmp_path / "log.txt").read_text()
    assert "results by test image are not kept: OSError: [Errno 28] No space left on device" in log
    assert "example predictions are not kept" in log
    assert "details of the results are not kept" in log


def test_a_detector_is_scored_with_its_matches_and_pictures(tmp_path: Path) -> None:
    shared = workload(Task.DETECTION)
    engine = Engine(shared, prepare_workload(shared), device="cpu")
    state = engine.start(config('{"adapter": "lora", "epochs": 1, "batch_size": 8}'))
    run_reports = run(engine, state)
    save_weights(state, tmp_path / "best.ckpt")
    said = score_trial(job(engine, tmp_path / "best.ckpt"))
    results = read_per_image(image_results(tmp_path))
    for name in results.metrics:  # a class without an object has no metric
        reported = said.metrics.get(name, math.nan)
        assert results.metric(name) == pytest.approx(reported, abs=1e-9, nan_ok=True)
    assert len(json.loads((tmp_path / "test" / "examples.json").read_text())) == 3
    details = read_details(tmp_path / "test" / "details.json")
    assert details is not None
    assert details.rows == (*engine.task.classes, "background")
    test = engine.data.splits[Split.TEST]
    assert details.confusion[:-1].sum() == sum(len(test.labels(i)) for i in range(len(test)))
    mean = sum(sum(values) / len(values) for values in details.precision.values()) / len(details.precision)
    assert mean == pytest.approx(said.metrics["map_50"], abs=1e-9)
    # The thresholds are those of the validation images.
    assert details.thresholds is not None
    (report,) = run_reports
    whole = details.thresholds.whole
    assert (None if whole is None else whole.threshold) == report.metrics.get("score_threshold")


def test_the_pretrained_baseline_scores_too(engine: Engine) -> None:
    expected = score_baseline(engine)
    assert expected is not None
    said = call_by_name(SCORER, job(engine, None))  # by the name that is passed to a Ray task

    assert said.metrics == expected.test


def test_weights_that_are_gone_or_damaged_are_a_reason_and_a_traceback_in_the_log(
    engine: Engine, tmp_path: Path
) -> None:
    gone = score_trial(job(engine, tmp_path / "best.ckpt"))
    assert gone == ScoringResult(reason=gone.reason)
    assert "cannot read the checkpoint" in str(gone.reason)
    assert "Traceback" in (tmp_path / "log.txt").read_text()
    (tmp_path / "best.ckpt").write_bytes(b"nonsense")
    assert "damaged" in str(score_trial(job(engine, tmp_path / "best.ckpt")).reason)


def test_another_trials_weights_are_not_scored(engine: Engine, tmp_path: Path) -> None:
    state = engine.start(config(LORA), number=2)
    write_packed(pack_weights(state, 1), tmp_path / "best.ckpt")
    asked = job(engine, tmp_path / "best.ckpt")
    said = score_trial(asked.model_copy(update={"owner": Owner(trial=0)}))
    assert said.metrics == {}
    assert "is a checkpoint of trial 2" in str(said.reason)
    assert score_trial(asked.model_copy(update={"owner": Owner(trial=2, config=config(LORA))})).metrics
