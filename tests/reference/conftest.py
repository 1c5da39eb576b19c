from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from trainables.preparation import prepare_workload
from trainables.specs.report import Report
from trainables.specs.trial import TrialConfig
from trainables.specs.workload import Task, Workload
from trainables.training.engine import Engine
from trainables.training.state import TrialState

SHARED = Path(__file__).resolve().parents[2] / "../shared"
METRIC = {Task.DETECTION: "map", Task.SEGMENTATION: "dice"}


@pytest.fixture(scope="session", autouse=True)
def _one_thread(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADAPTERTUNE_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of public data next to the checkout."""
    if not SHARED.is_dir():
        pytest.skip("there is no folder ../shared next to the checkout")
    return SHARED.resolve()


def workload(task: Task, **parts: Any) -> Workload:
    return Workload.model_validate_json(
        json.dumps({"task": task, "objective": {"metric": METRIC[task]}} | parts)
    )


def engine(asked: Workload) -> Engine:
    """An engine as a worker has it, over data prepared from the workload."""
    return Engine(asked, prepare_workload(asked), device="cpu")


def config(**fields: Any) -> TrialConfig:
    return TrialConfig.model_validate_json(json.dumps({"adapter": "none"} | fields))


def run(engine: Engine, state: TrialState, on_step: Callable[[], None] = lambda: None) -> list[Report]:
    """All reports of a trial, taken step by step."""
    reports = []
    while not state.done:
        reports += [report for _, report in engine.advance([state], steps=1)]
        on_step()
    return reports
