"""Metrics on test images and under shift, and an objective measured in a domain."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.trainables.conftest import config, run
from trainables.backbones import EMBEDDED
from trainables.errors import DataError
from trainables.inference.score_on_test import evaluation_of, score_baseline, score_model
from trainables.inference.trained_model import load_baseline, load_trained
from trainables.metrics.above_floor import above_floor
from trainables.preparation import domain_split, prepare_workload
from trainables.specs.data import Split
from trainables.specs.workload import Direction, Task, Workload
from trainables.training.checkpoint import save_weights
from trainables.training.engine import Engine

DOMAINS = {"rough": {"embedded": "textured"}, "soft": {"corruption": {"kind": "blur", "severity": 4}}}
LORA = '{"adapter": "lora", "epochs": 1, "learning_rate": 0.002}'


def _workload(task: Task, metric: str, **more: Any) -> Workload:
    data = {
        "embedded": {"domain": "clean", "train": 16, "validation": 8, "test": 6},
        "domains": DOMAINS,
    } | more
    return Workload.model_validate_json(
        json.dumps({"task": str(task), "objective": {"metric": metric}, "data": data})
    )


def _engine(task: Task, metric: str, **more: Any) -> Engine:
    of = _workload(task, metric, **more)
    return Engine(of, prepare_workload(of), device="cpu")


@pytest.mark.parametrize("task", list(EMBEDDED))
def test_scores_are_of_test_images_in_domain_and_under_each_shift(task: Task) -> None:
    main = task.facts.main_metric
    engine = _engine(task, main)
    state = engine.start(config(LORA))
    run(engine, state)
    scores = score_model(engine, state.model, state.config)
    assert scores.test == engine.evaluate(state.model, state.config, Split.TEST)
    assert scores.test != engine.evaluate(state.model, state.config, Split.VALIDATION)
    assert set(scores.domains) == {"rough", "soft"}
    for name, metrics in scores.domains.items():
        # The same images as a separate data set, or corrupted by hand, give the same metrics.
        split = domain_split(engine.data.path, engine.workload, name)
        assert len(split) == 6
        assert metrics == engine.evaluate(state.model, state.config, split)
        assert metrics != scores.test
        floors = [engine.floors.get(part, {}).get(main, 0.0) for part in (f"test@{name}", "test")]
        assert bool(floors[1]) is task.facts.masks
        kept = above_floor(metrics[main], floors[0]), above_floor(scores.test[main], floors[1])
        assert scores.robustness[name] == kept[0] / kept[1] > 0
        assert set(scores.above_floor) == {main, f"{main}@rough", f"{main}@soft"}
    other = json.loads(engine.workload.data.model_dump_json(exclude={"domains"}))
    other["embedded"]["domain"] = "textured"
    textured = _engine(task, main, **other | {"domains": {}})
    assert textured.evaluate(state.model, state.config, Split.TEST) == scores.domains["rough"]


def test_the_pretrained_baseline_is_scored_where_it_has_a_head(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = _engine(Task.DETECTION, "map")
    untouched = score_baseline(engine)
    assert untouched is not None
    assert set(untouched.domains) == {"rough", "soft"}
    held = load_baseline(engine.workload, engine.data.classes, device="cpu")
    assert evaluation_of(held, engine.data.splits[Split.TEST]) == untouched.test
    monkeypatch.setattr(type(engine.task), "fresh_head", property(lambda _: True))
    assert score_baseline(engine) is None


def test_a_trained_model_is_judged_as_in_its_engine(tmp_path: Path) -> None:
    engine = _engine(Task.SEGMENTATION, "dice")
    state = engine.start(config(LORA))
    run(engine, state)
    save_weights(state, tmp_path / "best.ckpt")
    trained = load_trained(engine.workload, tmp_path / "best.ckpt", device="cpu")
    scores = score_model(engine, state.model, state.config)
    for name, metrics in ((None, scores.test), *scores.domains.items()):
        split = engine.data.splits[Split.TEST] if name is None else engine.domains[name][Split.TEST]
        assert evaluation_of(trained, split, batch_size=4) == metrics


def test_no_test_images_no_metrics(tmp_path: Path) -> None:
    from data_makers import mask_folder

    data = {
        "masks": {"train": mask_folder(tmp_path / "main", 8), "classes": ["a", "b"]},
        "splits": {"train": 0.75, "validation": 0.25, "test": 0.0},
        "embedded": None,
        "domains": {},
    }
    engine = _engine(Task.SEGMENTATION, "dice", **data)
    scores = score_model(engine, *engine.baseline_model())
    assert (scores.test, scores.domains, scores.robustness) == ({}, {}, {})


@pytest.mark.parametrize(
    ("metric", "domains", "mean"),
    [
        ("dice@rough", {"rough"}, False),
        ("robustness@soft", {"soft"}, False),
        ("robustness", set(DOMAINS), True),
    ],
)
def test_an_objective_under_shift_is_measured_on_validation_images(
    metric: str, domains: set[str], mean: bool
) -> None:
    engine = _engine(Task.SEGMENTATION, metric)
    state = engine.start(config(LORA))
    (report,) = run(engine, state)
    assert report.objective == report.metrics[metric]
    assert {name.partition("@")[2] for name in report.metrics if "@" in name} == domains
    assert ("robustness" in report.metrics) is mean
    plain = engine.evaluate(state.model, state.config, Split.VALIDATION)
    for name in domains:
        shifted = engine.evaluate(state.model, state.config, engine.domains[name][Split.VALIDATION])
        assert report.metrics[f"dice@{name}"] == shifted["dice"]
        assert report.metrics[f"iou@{name}"] == shifted["iou"]
        assert report.metrics[f"dice/7@{name}"] == shifted["dice/7"]
        floor, floor_here = (engine.floors[part]["dice"] for part in (f"validation@{name}", "validation"))
        kept = above_floor(shifted["dice"], floor), above_floor(plain["dice"], floor_here)
        assert report.metrics[f"robustness@{name}"] == kept[0] / kept[1]
    assert report.above_floor is not None
    assert report.above_floor[0] < report.above_floor[1]
    baseline = engine.baseline_metrics()
    assert baseline is None or metric in baseline


def test_an_objective_in_its_own_domain_costs_no_more() -> None:
    engine = _engine(Task.SEGMENTATION, "dice")
    (report,) = run(engine, engine.start(config(LORA)))
    assert not [name for name in report.metrics if "@" in name or "robustness" in name]


def test_directions_under_shift() -> None:
    directions = {
        m: _workload(Task.SEGMENTATION, m).direction
        for m in ("dice@rough", "loss@rough", "robustness", "robustness@soft", "dice/a@b")
    }
    assert [m for m, d in directions.items() if d is Direction.MINIMIZE] == ["loss@rough"]


def test_a_share_of_the_training_images_makes_shorter_epochs() -> None:
    whole, part = (_engine(Task.SEGMENTATION, "dice", train_fraction=f) for f in (1.0, 0.25))
    trial = config('{"adapter": "lora", "epochs": 1, "batch_size": 4}')
    reports = [run(engine, engine.start(trial))[-1] for engine in (whole, part)]
    assert [r.step for r in reports] == [4, 1]
    assert [r.samples for r in reports] == [16, 4]
    for split in (Split.VALIDATION, Split.TEST):
        assert whole.data.splits[split].names == part.data.splits[split].names
    assert len(part.data.splits[Split.TRAIN]) == 4


def test_domains_that_were_not_prepared_are_said() -> None:
    of = _workload(Task.SEGMENTATION, "dice", domains={})
    shifted = _workload(Task.SEGMENTATION, "dice")
    with pytest.raises(DataError, match="has no images of domain rough; prepare again"):
        Engine(shifted, prepare_workload(of), device="cpu")
