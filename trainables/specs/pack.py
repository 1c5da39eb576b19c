"""A pack: several trials that one worker advances at once. Its job, its orders and its results.

The driver tells a running pack by a file of orders which trials start and which leave. Orders are numbered,
and a result says which of them were read, so that none is lost if the file is read late or not at all.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import Field

from trainables.specs.base import Spec
from trainables.specs.job import Job, TrialJob, TrialResult
from trainables.specs.parent import ParentFile
from trainables.specs.trial import TrialConfig


class PackedTrial(Spec):
    """What a trial has of its own; the rest of its job is that of its pack.

    joined: how many steps its pack had taken when it joined. A trial that continues from a checkpoint
    catches up with the others from there on, so that all reports come in the same order again.
    None: it joins where the pack is.  parent, start, starts: see `TrialJob`.
    """

    trial: int
    start: int = 1
    starts: str | None = None
    config: TrialConfig
    folder: Path
    checkpoints: str
    joined: int | None = None
    parent: ParentFile | None = None


class PackOrder(Spec):
    """One order: a trial starts, or the trial of that number leaves. save: it will continue."""

    number: int
    start: PackedTrial | None = None
    leave: int | None = None
    save: bool = False


class PackOrders(Spec):
    """The orders that a pack has not acknowledged yet, by number."""

    orders: tuple[PackOrder, ...] = ()


class WhyLanes(StrEnum):
    """Why a worker takes this number of trials at once."""

    IMAGES = "more images in flight on a thread gain little"
    MOST = "the most there are"
    MEMORY = "memory has room for no more"
    DIFFERS = "computed together, their losses would differ"
    ASKED = "resources.packing"
    OUT_OF_MEMORY = "memory ran out with more"


class Packing(Spec):
    """How many trials of one kind a worker takes at once, and what that gains.

    group: what they have in common, see `trainables.packing.group`.  lane_mb: the memory that a step keeps
    for each of them, if it was counted.  timed: how many took their steps together when that was compared
    with one at a time; together_ms, alone_ms: the time of one trial's step then. None before.
    """

    group: str
    lanes: int
    why: WhyLanes
    lane_mb: float | None = None
    timed: int | None = None
    together_ms: float | None = None
    alone_ms: float | None = None

    @property
    def told(self) -> str:
        """What is said to the user: the number, why, and what it gains if that is known."""
        number = f"{self.lanes} trials at once" if self.lanes > 1 else "one trial at a time"
        parts = [f"{number} in a worker ({self.why})"]
        if self.timed is not None and self.together_ms is not None and self.alone_ms is not None:
            times = f"{_short(self.together_ms)} against {_short(self.alone_ms)} ms a trial's step"
            if self.together_ms <= self.alone_ms:
                speed = f"{self.alone_ms / self.together_ms:.2g}× the speed of one at a time"
            else:
                speed = "packing does not pay, so steps are taken one trial at a time"
            parts.append(f"{speed} ({times}, {self.timed} trials)")
        if self.lane_mb is not None:
            parts.append(f"{_short(self.lane_mb)} MB a trial")
        return "; ".join(parts)


def room_of(decided: Iterable[int], asked: int | None) -> int:
    """How many trials a worker takes: as many as of the kind of which it takes most, whichever are there now.

    So the number does not depend on the order in which trials end, and a resumed sweep has the same.

    decided: for each kind of which that is decided.  asked: `resources.packing`, if it is a number.
    """
    return max(decided, default=asked or 1)


def _short(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


class PackJob(Job):
    """Advance the trials that the file of orders names: the value of `job` in the configuration for Ray Tune.

    trial: the number of the pack; Ray's trials are packs.  orders: the file.  lanes: how many trials it takes
    at most; None: the worker decides, once for each group.  decided: what is recorded of that.
    trainable: the class that advances them, `module:Class`.
    The rest: see `TrialJob`.
    """

    trial: int
    orders: Path
    lanes: int | None
    decided: tuple[Packing, ...] = ()
    save_every_s: float
    save_every_epochs: float | None
    save_at_epochs: tuple[float, ...] = ()
    durable: bool = False
    trainable: str

    def job_of(self, entry: PackedTrial) -> TrialJob:
        """The job of one of its trials."""
        return TrialJob(
            trial=entry.trial,
            start=entry.start,
            starts=entry.starts,
            config=entry.config,
            experiment=self.experiment,
            folder=entry.folder,
            checkpoints=entry.checkpoints,
            workload=self.workload,
            prepared=self.prepared,
            threads=self.threads,
            save_every_s=self.save_every_s,
            save_every_epochs=self.save_every_epochs,
            save_at_epochs=self.save_at_epochs,
            durable=self.durable,
            parent=entry.parent,
            trainable=self.trainable,
        )

    def for_ray(self) -> dict[str, Any]:
        """The configuration of Ray's trial."""
        return {"trial": self.trial, "job": self}

    def __str__(self) -> str:
        """A short text, because Ray keeps the text of every configuration."""
        return f"pack {self.trial}"


class PackResult(Spec):
    """What a pack returns from a step: a result of each trial that has one, by number.

    trial: the number of the pack.  room: how many trials it takes at most.  read: the last order that was
    read.  clock: how many steps it has taken.  packing: what is new about how many trials it takes.
    """

    trial: int
    results: list[TrialResult]
    room: int
    read: int
    clock: int
    packing: list[Packing] = Field(default_factory=list)

    def for_ray(self) -> dict[str, Any]:
        """A dictionary of plain values. The driver decides when a pack is done."""
        return self.model_dump() | {"done": False}
