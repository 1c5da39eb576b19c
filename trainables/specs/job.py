"""The jobs that a driver sends to a worker, and their results: a trial's training, or scoring its weights.

Driver and workers share these values, and Ray transfers them.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field

from trainables.specs.base import Spec
from trainables.specs.heads import HeadSource
from trainables.specs.owner import Owner
from trainables.specs.parent import ParentFile
from trainables.specs.report import Report
from trainables.specs.trial import TrialConfig
from trainables.specs.workload import Workload


class Job(Spec):
    """What all jobs of an experiment share.

    experiment: its folder.  prepared: the folder of its prepared data.  threads: CPU threads of a worker.
    """

    experiment: Path
    workload: Workload
    prepared: Path
    threads: int

    def with_prepared(self, prepared: Path) -> Self:
        """The same job with another folder of prepared data."""
        return self.model_copy(update={"prepared": prepared})

    # Ray copies a trial's configuration three times and sends it with each report. A frozen job need
    # not be copied, and as JSON it pickles four times as fast as pydantic's own pickling.

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).model_validate_json, (self.model_dump_json(),)


class TrialJob(Job):
    """Train one trial: the value of `job` in the configuration that Ray Tune passes to a trainable.

    folder: the trial's folder, for its log.  checkpoints: the folder of its checkpoints, a path or a URI.
    save_at_epochs: it is also saved at the first report at or after each of these. parent: the checkpoint
    that it begins with, if it has none of its own. start: the number of this start of the trial, from 1.
    starts: the file with the number of the newest one, a path or a URI; see `trainables.start_number`. None:
    nobody else may start the trial. durable: checkpoints are on the disk before training goes on.
    trainable: the class that trains it, `module:Class`.
    """

    trial: int
    start: int = 1
    starts: str | None = None
    config: TrialConfig
    folder: Path
    checkpoints: str
    save_every_s: float
    save_every_epochs: float | None
    save_at_epochs: tuple[float, ...] = ()
    durable: bool = False
    parent: ParentFile | None = None
    trainable: str

    def for_ray(self) -> dict[str, Any]:
        """The configuration of Ray's trial; schedulers and searchers read `trial`."""
        return {"trial": self.trial, "job": self}

    def __str__(self) -> str:
        """A short text, because Ray keeps the text of every configuration."""
        return f"trial {self.trial}"


class Failure(Spec):
    """Why a trial has no result.  unfit: whether its node cannot run any trial."""

    outcome: Literal["failed", "diverged"] = "failed"
    reason: str
    unfit: bool = False


class TrialResult(Spec):
    """What a trainable returns from a step. Ray flattens it; `tuning.run.ray_scheduler` reads it.

    report: None if the trial failed.  built: parameter counts by part, in the first result, and with it
    still: the names of parameters that are set to train but have no gradient, those of all blocks as one.
    head: where the model's head comes from, in the first result.  macs, latency_ms: see `BuiltRecord`, in the
    first one.
    worker: the process that trains it, as `HOST:PID`, in the first result.
    baseline: metrics of the pretrained baseline, from the worker that measured it.
    saved: the SHA-256 of its checkpoints by name, of those that are new since the last report.
    unsaved: why the trial could not be saved, reported once.  done: whether the trial has ended.
    """

    trial: int
    epoch: float = 0.0
    objective: float = math.nan
    report: Report | None = None
    built: dict[str, int] | None = None
    head: HeadSource | None = None
    macs: int | None = None
    latency_ms: float | None = None
    worker: str | None = None
    still: list[str] = Field(default_factory=list)
    baseline: dict[str, float] | None = None
    saved: dict[str, str] = Field(default_factory=dict)
    unsaved: str | None = None
    failure: Failure | None = None
    done: bool = False

    def for_ray(self) -> dict[str, Any]:
        """A nested dictionary of plain values."""
        return self.model_dump()


class ScoringJob(Job):
    """Score one model on test images and domains.

    trial, folder, weights: the trial's number, its folder, and the path or URI of its weights; all None
    for the pretrained baseline.  owner: whose the weights must be.
    """

    trial: int | None = None
    owner: Owner | None = None
    folder: Path | None = None
    weights: str | None = None


class ScoringResult(Spec):
    """Metrics of one model on test images, or the reason why there are none.

    metrics: in the data's own domain.  domains: in each shifted domain.  robustness, above_floor: see
    `trainables.inference.score_on_test.Scores`.
    """

    metrics: dict[str, float] = Field(default_factory=dict)
    domains: dict[str, dict[str, float]] = Field(default_factory=dict)
    robustness: dict[str, float] = Field(default_factory=dict)
    above_floor: dict[str, tuple[float, float]] = Field(default_factory=dict)
    reason: str | None = None


class TimingJob(Job):
    """Time the forward passes of several trials in turns.

    weights: the path or URI of each trial's weights.  folders: of each trial, for its log.
    owners: whose the weights must be, by trial.
    """

    weights: dict[int, str]
    folders: dict[int, Path]
    owners: dict[int, Owner] = Field(default_factory=dict)


class Latency(Spec):
    """Milliseconds of a forward pass over one image: the median over all turns, and their range.

    low_ms, high_ms: without the fastest and the slowest turn.
    """

    median_ms: float
    low_ms: float
    high_ms: float


class TimingResult(Spec):
    """The latency by trial, or the reason why there is none."""

    latency: dict[int, Latency] = Field(default_factory=dict)
    reason: str | None = None
