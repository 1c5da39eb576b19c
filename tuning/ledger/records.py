"""The lines of an experiment's record, one type each. No ray, no torch.

Trials are numbered from 0 in the order in which they were asked for. A number may start more than
once (a retry, a resumed experiment): its later reports replace those from the same epoch on.
"""

from __future__ import annotations

import time
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter

SCHEMA = 1


class Outcome(StrEnum):
    """How a trial ended."""

    COMPLETED = "completed"
    EARLY_STOPPED = "early_stopped"
    """By its own patience rule; its value counts like a completed trial's."""
    PRUNED = "pruned"
    """By the scheduler, before its epochs were up."""
    STOPPED = "stopped"
    """By the user."""
    DIVERGED = "diverged"
    """The loss or the objective was no longer a number."""
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    """The driver was stopped while the trial ran; it can go on."""
    REUSED = "reused"
    """Never ran: an earlier trial `of` the same configuration gave the value."""


RAN_TO_END = (Outcome.COMPLETED, Outcome.EARLY_STOPPED)
"""Outcomes of trials that ran to their own end: all their epochs, or their own patience."""
NOT_OVER = frozenset({None, Outcome.INTERRUPTED})
"""Outcomes of trials that are not over; a trial without one runs, or its driver died."""


class StoppedBy(StrEnum):
    """Who decided that a trial ends early."""

    ASHA = "asha"
    MEDIAN = "median"
    USER = "user"


class Ending(StrEnum):
    """How the driver's run ended."""

    FINISHED = "finished"
    INTERRUPTED = "interrupted"
    FAILED = "failed"


class Record(BaseModel):
    """One line. Fields that a newer version added are passed over; NaN and infinities become null."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, ser_json_inf_nan="null")

    time: float = Field(default_factory=time.time)
    """Seconds since 1970."""


class ExperimentRecord(Record):
    """The first line: the file as it was read, the experiment in full, and what ran it."""

    kind: Literal["experiment"] = "experiment"
    # `schema` would hide BaseModel's own attribute of that name.
    version: int = Field(default=SCHEMA, alias="schema")
    name: str
    file: str
    experiment: dict[str, JsonValue]
    environment: dict[str, JsonValue] = {}


class EarlierTrial(BaseModel):
    """A finished trial of an earlier experiment, as this one's space writes its parameters."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    trial: int
    """Its number there."""
    params: dict[str, JsonValue]
    outcome: Outcome
    value: float
    epoch: float


class WarmStartRecord(Record):
    """What the search learns from an earlier experiment. It lasts here: the other one may go.

    experiment: as `search.from` names it.  dropped: the trials that were not taken, by number, and why.
    differs: what else was otherwise there, as `dotted.key: was → is`.
    """

    kind: Literal["warm_start"] = "warm_start"
    experiment: str
    taken: list[EarlierTrial]
    dropped: dict[int, str] = {}
    differs: list[str] = []


class PreparedRecord(Record):
    """The data that all trials share."""

    kind: Literal["prepared"] = "prepared"
    fingerprint: str
    counts: dict[str, int] = {}
    """Images by split."""
    classes: list[str] = []
    faults: list[JsonValue] = []


class BaselineRecord(Record):
    """The untouched backbone's figures on the validation images."""

    kind: Literal["baseline"] = "baseline"
    metrics: dict[str, float | None]


class StartedRecord(Record):
    """A configuration was drawn under a number (and is about to run, unless it is reused)."""

    kind: Literal["started"] = "started"
    trial: int
    params: dict[str, JsonValue]
    hash: str


class BuiltRecord(Record):
    """Parameters that train, or will, by part: adapter, head, backbone; and the model's total."""

    kind: Literal["built"] = "built"
    trial: int
    parameters: dict[str, int]


class ReportRecord(Record):
    """One report; see `trainables.specs.report.Report`."""

    kind: Literal["report"] = "report"
    trial: int
    epoch: float
    step: int
    objective: float | None
    """The running objective under its rule: the best so far, or this report's."""
    metrics: dict[str, float | None] = {}
    train_s: float = 0.0
    evaluate_s: float = 0.0
    wait_s: float = 0.0
    samples: int = 0
    peak_mb: float = 0.0
    outcome: Literal["completed", "early_stopped"] | None = None
    """How the trial ends with this report; None if it would go on."""


class UnsavedRecord(Record):
    """A checkpoint could not be written. The trial trains on, and tries again when the next one is due."""

    kind: Literal["unsaved"] = "unsaved"
    trial: int
    reason: str


class RemovedRecord(Record):
    """Checkpoints of a trial that is over, taken away to keep `checkpoints.budget_gb`; written first.

    files: by their names in the trial's folder.  bytes: of all of them.
    """

    kind: Literal["removed"] = "removed"
    trial: int
    files: list[str]
    bytes: int


class OverBudgetRecord(Record):
    """`checkpoints.budget_gb` cannot be kept. Written once by each driver.

    bytes: what the checkpoints take.  reason: why none of them can go.
    """

    kind: Literal["over_budget"] = "over_budget"
    bytes: int
    reason: str


class StoppedRecord(Record):
    """The decision to stop a trial, written before it acts."""

    kind: Literal["stopped"] = "stopped"
    trial: int
    by: StoppedBy
    epoch: float | None = None


class EndedRecord(Record):
    """A trial's end and its value: the last running objective, null when it has none."""

    kind: Literal["ended"] = "ended"
    trial: int
    outcome: Outcome
    reason: str | None = None
    value: float | None = None
    epoch: float | None = None
    of: int | None = None


class ScoringRecord(Record):
    """The search is over; from here on these trials are scored on test images, None the untouched model."""

    kind: Literal["scoring"] = "scoring"
    trials: list[int | None]


class ScoredRecord(Record):
    """Figures of a trial's kept weights, or of the untouched model, on the test images.

    trial: None for the untouched model.  epoch: of the report whose weights they are.
    domains: the same figures in each domain.  robustness: shifted ÷ in domain, by domain.
    latency_ms: of a forward pass over one image, where it was measured.
    reason: why there are no figures, where scoring failed.
    """

    kind: Literal["scored"] = "scored"
    trial: int | None
    epoch: float | None = None
    metrics: dict[str, float | None] = {}
    domains: dict[str, dict[str, float | None]] = {}
    robustness: dict[str, float | None] = {}
    latency_ms: float | None = None
    reason: str | None = None


class ResumedRecord(Record):
    """Another driver goes on from here. trials: how many there shall be, where that has changed."""

    kind: Literal["resumed"] = "resumed"
    trials: int | None = None
    environment: dict[str, JsonValue] = {}


class ClosedRecord(Record):
    """The driver left in good order."""

    kind: Literal["closed"] = "closed"
    reason: Ending


AnyRecord = Annotated[
    ExperimentRecord
    | WarmStartRecord
    | PreparedRecord
    | BaselineRecord
    | StartedRecord
    | BuiltRecord
    | ReportRecord
    | UnsavedRecord
    | RemovedRecord
    | OverBudgetRecord
    | StoppedRecord
    | EndedRecord
    | ScoringRecord
    | ScoredRecord
    | ResumedRecord
    | ClosedRecord,
    Field(discriminator="kind"),
]
RECORDS: TypeAdapter[Any] = TypeAdapter(AnyRecord)
"""Reads a line of JSON into its record."""
