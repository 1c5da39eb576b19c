from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from trainables.preparation import prepare_workload
from trainables.specs.job import TrialJob
from trainables.specs.report import Report
from trainables.specs.trial import TrialConfig
from trainables.specs.workload import Task, Workload
from trainables.training.engine import Engine
from trainables.training.state import TrialState
from trainables.workers.ray_trainable import AdapterTrainable


@pytest.fixture(scope="session", autouse=True)
def _one_thread(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADAPTERTUNE_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


def workload(task: Task, *, train: int = 24, validation: int = 8) -> Workload:
    metric = "map_50" if task is Task.DETECTION else task.facts.main_metric
    return Workload.model_validate_json(
        f'{{"task": "{task}", "objective": {{"metric": "{metric}"}}, "data": {{"embedded": '
        f'{{"domain": "inverted", "train": {train}, "validation": {validation}, "test": 4}}}}}}'
    )


@pytest.fixture(scope="session")
def engine_of() -> Callable[[Task], Engine]:
    """One engine per task for the whole session, as in a reused worker."""
    made: dict[Task, Engine] = {}

    def engine(task: Task) -> Engine:
        if task not in made:
            asked = workload(task)
            made[task] = Engine(asked, prepare_workload(asked), device="cpu")
        return made[task]

    return engine


def config(text: str) -> TrialConfig:
    return TrialConfig.model_validate_json(text)


def trial_job(experiment: Path, text: str, trial: int = 0, **fields: Any) -> TrialJob:
    """A trial of a segmentation sweep in a folder; `fields` of the job replaced."""
    shared = workload(Task.SEGMENTATION)
    folder = experiment / "trials" / f"{trial:04d}"
    job = TrialJob(
        trial=trial,
        config=config(text),
        experiment=experiment,
        folder=folder,
        checkpoints=str(folder),
        workload=shared,
        prepared=prepare_workload(shared),
        threads=1,
        save_every_s=1e9,
        save_every_epochs=1.0,
        trainable="trainables.workers.ray_trainable:AdapterTrainable",
    )
    return job.model_copy(update=fields)


def actor_of(job: TrialJob) -> AdapterTrainable:
    """A worker's trainable as made by `cluster.ray_worker`; Ray's __init__ writes to the home folder."""
    made: AdapterTrainable = AdapterTrainable.__new__(AdapterTrainable)
    made.setup(job.for_ray())
    return made


def swap(actor: AdapterTrainable, job: TrialJob) -> None:
    """The next trial on an existing worker."""
    assert actor.reset_config(job.for_ray())


def run(engine: Engine, state: TrialState) -> list[Report]:
    """All reports of a trial from its current position."""
    reports = []
    while not state.done:
        reports += [report for _, report in engine.advance([state])]
    return reports


def report_values(reports: list[Report]) -> list[tuple[float, int, float, dict[str, float]]]:
    """The values that must be equal in two runs of one configuration: all but the cost."""
    return [(r.epoch, r.step, r.objective, r.metrics) for r in reports]
