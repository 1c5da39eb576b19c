"""A trainable that replays curves without training, to test everything around training."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

from ray import tune

from trainables.specs.job import Failure, TrialJob, TrialResult
from trainables.specs.report import Report
from tuning.experiment.space import Space
from tuning.experiment.spec import Experiment
from tuning.ledger.records import Record
from tuning.ledger.requests import requests_in
from tuning.run.driver import LaunchResult
from tuning.run.launch import launch_experiment


class Scripted(tune.Trainable):
    """A trainable with objective 1 - |log10 r + 2| / 4 - 1 / (e + 1) at epoch e under learning rate r.

    So 1e-2 is the best rate. Subclasses report other values, slow down, fail or die.
    """

    def setup(self, config: dict[str, Any]) -> None:
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.job: TrialJob = new_config["job"]
        self.trial = self.job.config
        self.reports, self.best = 0, -math.inf
        return True

    def step(self) -> dict[str, Any]:
        self.reports += 1
        epoch = self.reports / self.trial.reports_per_epoch
        if self.pause_s:
            time.sleep(self.pause_s)
        value = self.value(epoch)
        self.best = max(self.best, value) if math.isfinite(value) else value
        done = epoch >= self.trial.epochs
        failure = self.failure(epoch)
        report = Report(
            epoch=epoch, step=self.reports * 10, metrics={"map": value, "map/3": value / 2},
            objective=self.best, train_s=0.1, evaluate_s=0.05, wait_s=0.001,
            samples=80, peak_mb=1.0, done=done, outcome="completed" if done else None,
        )  # fmt: skip
        return TrialResult(
            trial=self.job.trial,
            epoch=epoch,
            objective=self.best,
            report=report if failure is None else None,
            built={"adapter": 10, "head": 5, "backbone": 0, "total": 100} if self.reports == 1 else None,
            baseline={"map": 0.1} if self.reports == 1 and self.job.trial == 0 else None,
            failure=failure,
            done=done or failure is not None,
        ).for_ray()

    pause_s = 0.0

    def value(self, epoch: float) -> float:
        return 1.0 - abs(math.log10(self.trial.learning_rate) + 2.0) / 4.0 - 1.0 / (epoch + 1.0)

    def failure(self, epoch: float) -> Failure | None:
        return None


def wait_until_taken(folder: Path) -> None:
    """Wait until the driver of the experiment in `folder` has taken up what was asked of it, or has gone."""
    deadline = time.monotonic() + 60.0
    while requests_in(folder) and time.monotonic() < deadline:
        time.sleep(0.02)


class Slow(Scripted):
    """Takes no step while there are requests that the driver has not taken up."""

    pause_s = 0.05

    def step(self) -> dict[str, Any]:
        wait_until_taken(self.job.experiment)
        return super().step()


def trial_job(folder: Path, number: int = 0, **fields: Any) -> TrialJob:
    """A trial of `experiment()` in an existing folder, with `fields` of the job replaced."""
    given = experiment(trial={"epochs": 2})
    job = TrialJob(
        trial=number,
        config=given.trial_config({"adapter": "loha", "learning_rate": 1e-2}),
        experiment=folder,
        folder=folder / "trials" / f"{number:04d}",
        checkpoints=str(folder / "trials" / f"{number:04d}"),
        workload=given.workload,
        prepared=folder,
        threads=1,
        save_every_s=30.0,
        save_every_epochs=None,
        trainable="scripted:Scripted",
    )
    return job.model_copy(update=fields)


def prepared_in(folder: Path, **more: Any) -> Path:
    """Create a folder like one of prepared data, with what a scripted trainable reads."""
    folder.mkdir(exist_ok=True)
    meta = {"fingerprint": "f00", "counts": {"train": 4}} | more
    (folder / "meta.json").write_text(json.dumps(meta))
    return folder


class Sweeps:
    """Launches sweeps in the test's folder, with prepared data."""

    def __init__(self, folder: Path) -> None:
        self.storage, self.prepared = folder / "experiments", folder / "data"
        prepared_in(self.prepared, faults=[])
        self.events: list[Record] = []

    def __call__(self, trainable: type[Any] = Scripted, *, also: Any = None, **parts: Any) -> LaunchResult:
        def heard(record: Record) -> None:
            self.events.append(record)
            if also is not None:
                also(record)

        return launch_experiment(
            experiment(**parts),
            self.storage,
            trainable=trainable,
            prepare=lambda _: self.prepared,
            on_event=heard,
        )


def experiment(**parts: Any) -> Experiment:
    """A detection experiment over the learning rate and the adapter, with `parts` of the file replaced."""
    written: dict[str, Any] = {
        "name": "sweep",
        "task": "detection",
        "objective": {"metric": "map"},
        "trial": {"epochs": 9},
        "space": {
            "adapter": {"choice": ["lora", "loha"]},
            "learning_rate": {"float": [1e-5, 1e-1], "log": True},
            "lora.rank": {"choice": [4, 8]},
        },
        "search": {"trials": 8},
    } | parts
    space = Space.parse(written.pop("space"))
    given = Experiment.model_validate_json(json.dumps(written))
    return given.model_copy(update={"space": space})


def essence(folder: Path) -> list[Any]:
    """Configurations, curves, decisions and ends, without times."""
    from tuning.ledger.ledger import read_history

    return [
        (
            trial.number,
            dict(trial.params),
            [(r.epoch, r.objective, r.metrics) for r in trial.reports],
            trial.stopped.by if trial.stopped else None,
            trial.outcome,
            trial.value,
        )
        for trial in read_history(folder).trials.values()
    ]
