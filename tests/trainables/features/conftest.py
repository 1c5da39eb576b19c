from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainables.conftest import config, report_values, run
from trainables.preparation import prepare_workload
from trainables.specs.report import Report
from trainables.specs.workload import Task, Workload
from trainables.training.engine import Engine
from trainables.training.state import TrialState


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder for one test."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("ADAPTERTUNE_CACHE", str(folder))
    return folder


def engine(
    task: Task = Task.SEGMENTATION, *, gb: float = 1.0, model: Any = None, frozen: int = 2, **data: Any
) -> Engine:
    """A worker's engine over the embedded data; `data` replaces its settings. frozen: the definition."""
    images = {"train": 13, "validation": 5, "test": 2, **data.pop("embedded", {})}
    asked = {
        "task": task,
        "model": model or {},
        "objective": {"metric": "loss"},
        "data": {"embedded": images, "cache_gb": gb, **data},
        "definitions": {"frozen": frozen},
    }
    workload = Workload.model_validate_json(json.dumps(asked))
    return Engine(workload, prepare_workload(workload), device="cpu")


def trial(**settings: Any) -> Any:
    """A configuration with batches of 4."""
    return config(json.dumps({"epochs": 3, "batch_size": 4, "learning_rate": 0.01, **settings}))


def trained(engine: Engine, **settings: Any) -> tuple[TrialState, list[Report]]:
    """A trial that was trained to its end, and its reports."""
    state = engine.start(trial(**settings))
    return state, run(engine, state)


def outcome(engine: Engine, **settings: Any) -> tuple[Any, dict[str, torch.Tensor]]:
    """All that must be the same to the bit: metrics and final weights."""
    state, reports = trained(engine, **settings)
    return report_values(reports), {n: p.detach().clone() for n, p in state.model.named_parameters()}


def assert_equal(one: Any, other: Any) -> None:
    """Two results of `outcome` are the same to the bit."""
    assert one[0] == other[0]
    assert one[1].keys() == other[1].keys()
    assert [name for name in one[1] if not torch.equal(one[1][name], other[1][name])] == []
