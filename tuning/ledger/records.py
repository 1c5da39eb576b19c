"""The types of lines in an experiment's record.

Trials are numbered from 0 in the order of their proposal. A trial may start more than once (a retry, a
resumed experiment); its later reports replace the earlier ones from the same epoch on.
"""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter

from tuning.ledger.outcomes import Ending, Outcome, SearchEndedBy, StoppedBy
from tuning.ledger.parent import Parent
from tuning.ledger.report_metrics import ReportMetrics

SCHEMA = 1


class Record(BaseModel):
    """One line. Unknown fields from newer versions are ignored; NaN and infinities become null."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, ser_json_inf_nan="null")

    time: float = Field(default_factory=time.time)
    """Seconds since 1970."""


class ExperimentRecord(Record):
    """The first line: the text of the file, the whole experiment, and its environment."""

    kind: Literal["experiment"] = "experiment"
    # `schema` would hide BaseModel's own attribute of that name.
    version: int = Field(default=SCHEMA, alias="schema")
    name: str
    file: str
    experiment: dict[str, JsonValue]
    environment: dict[str, JsonValue] = {}
    attempt: int | None = None
    """The number of the driver's attempt, see `tuning.ledger.attempts`; None in records of before."""


class EarlierTrial(BaseModel):
    """A finished trial of an earlier experiment, with its parameters in the notation of this space."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    trial: int
    """Its number in that experiment."""
    params: dict[str, JsonValue]
    outcome: Outcome
    value: float
    epoch: float
    values: dict[str, float] = {}
    """Where this search has several objectives or constraints: see `EndedRecord`."""


class WarmStartRecord(Record):
    """The trials of an earlier experiment that the search learns from. The other one may be deleted later.

    experiment: as in `search.from`.  dropped: the reason for each trial that was not taken, by number.
    differs: other differences between the experiments, as `dotted.key: was → is`.
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
    boxes: dict[str, int] = {}
    crowds: dict[str, int] = {}
    """Boxes by split, and those of them that are crowds."""
    classes: list[str] = []
    faults: list[JsonValue] = []
    warnings: list[str] = []
    found: str = ""
    """What was found in a folder of data that is given alone, in words."""
    floors: dict[str, dict[str, float]] = {}
    """What the best constant predictor reaches, by metric, on `validation`, `test`, `validation@DOMAIN`
    and `test@DOMAIN`; see `trainables.metrics.floors`. Empty in records of before."""
    domains: dict[str, str] = {}
    """The fingerprints of the domains that have images of their own."""


class BaselineRecord(Record):
    """The metrics of the pretrained baseline on validation images."""

    kind: Literal["baseline"] = "baseline"
    metrics: dict[str, float | None]


class SamplerAttributes(BaseModel):
    """What an Optuna sampler noted while it drew a configuration, and reads when it draws the next ones.

    Optuna keeps it in system attributes. `study` has those of the study that are new or have changed. Where
    they name trials, it is by their place in Optuna's study: first the trials of `search.from`, then our
    trials by number, without those that reuse a result.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    trial: dict[str, JsonValue] = {}
    study: dict[str, JsonValue] = {}


class StartedRecord(Record):
    """A trial was numbered and is about to run, unless it reuses an earlier one."""

    kind: Literal["started"] = "started"
    trial: int
    params: dict[str, JsonValue]
    hash: str
    start: int | None = None
    """The number of this start of the trial, from 1; None in records of before."""
    joined: int | None = None
    """How many steps its pack had taken when it joined, where one worker trains all; see `PackedTrial`."""
    sampler: SamplerAttributes | None = None
    """None if the sampler noted nothing, if the trial starts again, and in records of before."""
    parent: Parent | None = None
    """None for a trial that begins with the pretrained model, and in records of before."""
    rates: dict[str, float] = {}
    """The learning rates at which it trains, of those that the space scales; `params` has what was drawn."""


class AddedRecord(Record):
    """A configuration that a user adds to the sweep, as one more trial, which is proposed before any other.

    asked: when, in seconds since 1970.  by: the user's name.  of: the trial that it was copied from.
    parent: see `StartedRecord`.
    """

    kind: Literal["added"] = "added"
    params: dict[str, JsonValue]
    hash: str
    asked: float
    by: str = ""
    of: int | None = None
    parent: Parent | None = None


class PausedRecord(Record):
    """The user lets a trial, or the whole sweep if None, wait without workers.

    asked, by: see `AddedRecord`.
    """

    kind: Literal["paused"] = "paused"
    trial: int | None
    asked: float
    by: str = ""


class UnpausedRecord(Record):
    """The user lets a paused trial, or a paused sweep if None, continue. asked, by: see `AddedRecord`."""

    kind: Literal["unpaused"] = "unpaused"
    trial: int | None
    asked: float
    by: str = ""


class SearchEndedRecord(Record):
    """The decision to propose no new trials, written before it takes effect. reason: in words.

    trials: how many there are.  epochs: how many they have run together.
    """

    kind: Literal["search_ended"] = "search_ended"
    by: SearchEndedBy
    reason: str
    trials: int
    epochs: float


class PackingRecord(Record):
    """How many trials of one kind a worker takes at once; the latest of a group counts, also on resume.

    The fields are those of `trainables.specs.pack.Packing`.
    """

    kind: Literal["packing"] = "packing"
    group: str
    lanes: int
    why: str
    lane_mb: float | None = None
    timed: int | None = None
    together_ms: float | None = None
    alone_ms: float | None = None


class BuiltRecord(Record):
    """The number of parameters that train, now or later, by part (adapter, head, backbone), and the total.

    macs: multiplications of a forward pass over one image, where an objective or a constraint asks for them.
    latency_ms: its time, likewise; of a trial that starts again, the first one counts.
    still: parameters that are set to train but have no gradient, by name; the parts do not count them.
    """

    kind: Literal["built"] = "built"
    trial: int
    parameters: dict[str, int]
    head: str | None = None
    """Where the model's head comes from: `trainables.specs.heads`; None in records of before."""
    worker: str | None = None
    """The process that trains it, as `HOST:PID`; None in records of before."""
    still: list[str] = []
    macs: int | None = None
    latency_ms: float | None = None


class ReportRecord(Record):
    """One report; see `trainables.specs.report.Report`."""

    kind: Literal["report"] = "report"
    trial: int
    epoch: float
    step: int
    objective: float | None
    """The running objective by its rule: the best so far, or that of this report."""
    metrics: ReportMetrics = ReportMetrics({})
    above_floor: tuple[float, float] | None = None
    """(low, high) of the objective minus its floor; for AP and AR only its sign is meant. See `Report`."""
    train_s: float = 0.0
    evaluate_s: float = 0.0
    wait_s: float = 0.0
    samples: int = 0
    peak_mb: float = 0.0
    lanes: int = 1
    """The most trials that took their steps together with it, itself included, since the last report. With
    more than one, `train_s` and `peak_mb` are this trial's share."""
    image_size: tuple[int, int] | None = None
    """(height, width) of its images, where they were smaller than the model's own; see `Report`."""
    outcome: Literal["completed", "early_stopped"] | None = None
    """How the trial ends with this report; None if it continues."""
    saved: dict[str, str] = {}
    """The SHA-256 of its checkpoints by file name, of those that were written since the last report; see
    `trainables.training.checkpoint`. Empty in records of before."""


class UnsavedRecord(Record):
    """A checkpoint could not be written. The trial continues, and saves again when the next one is due."""

    kind: Literal["unsaved"] = "unsaved"
    trial: int
    reason: str


class RemovedRecord(Record):
    """Checkpoints of a finished trial, removed to keep `checkpoints.budget_gb`. Written before the removal.

    files: their names in the trial's folder.  bytes: their total size.
    """

    kind: Literal["removed"] = "removed"
    trial: int
    files: list[str]
    bytes: int


class OverBudgetRecord(Record):
    """`checkpoints.budget_gb` cannot be kept. Each driver writes this at most once.

    bytes: the size of the checkpoints.  reason: why none of them can be removed.
    """

    kind: Literal["over_budget"] = "over_budget"
    bytes: int
    reason: str


class StoppedRecord(Record):
    """The decision to stop a trial, written before it takes effect."""

    kind: Literal["stopped"] = "stopped"
    trial: int
    by: StoppedBy
    epoch: float | None = None


class EndedRecord(Record):
    """A trial's end and its value: the last running objective, or null if it has no value.

    values: with several objectives or constraints, the value of each of their metrics, see
    `tuning.ledger.trial_values`.  broken: the constraints that it is not known to keep.
    """

    kind: Literal["ended"] = "ended"
    trial: int
    outcome: Outcome
    reason: str | None = None
    value: float | None = None
    epoch: float | None = None
    of: int | None = None
    values: dict[str, float] = {}
    broken: list[str] = []


class ScoringRecord(Record):
    """The search is over and these trials will be scored on test images; None is the pretrained baseline."""

    kind: Literal["scoring"] = "scoring"
    trials: list[int | None]


class ScoredRecord(Record):
    """Metrics on the test images, of a trial's kept weights or of the pretrained baseline.

    trial: None for the pretrained baseline.  epoch: of the report that the weights belong to.
    domains: the same metrics in each domain.  robustness: shifted ÷ in domain, both above their floors.
    above_floor: (low, high), the 95 % bootstrap interval over the test images of a metric minus its
    floor, by the name of the metric: the objective's without its domain, and the main one, as `dice` in
    domain and as `dice@DOMAIN`. For AP and AR only its sign is meant: low is 0 if collapsed, else the least
    positive number; high is 1.
    latency_ms: of a forward pass over one image, once it was measured; the median over all turns.
    latency_low_ms, latency_high_ms: the range of the turns without the fastest and the slowest; None where
    each trial was timed on its own.
    reason: why there are no metrics, if scoring failed.
    """

    kind: Literal["scored"] = "scored"
    trial: int | None
    epoch: float | None = None
    metrics: dict[str, float | None] = {}
    domains: dict[str, dict[str, float | None]] = {}
    robustness: dict[str, float | None] = {}
    above_floor: dict[str, tuple[float, float]] = {}
    latency_ms: float | None = None
    latency_low_ms: float | None = None
    latency_high_ms: float | None = None
    reason: str | None = None


class ResumedRecord(Record):
    """Another driver resumes the experiment here. trials: the new number of trials, if it has changed.

    epochs: the new budget of epochs, if it has changed.
    moved: where data are now, by the folder or file of the experiment where they were.
    attempt: the number of the driver's attempt; None in records of before.
    """

    kind: Literal["resumed"] = "resumed"
    trials: int | None = None
    epochs: int | None = None
    moved: dict[str, str] = {}
    environment: dict[str, JsonValue] = {}
    attempt: int | None = None


class ClosedRecord(Record):
    """The driver ended in an orderly way."""

    kind: Literal["closed"] = "closed"
    reason: Ending


AnyRecord = Annotated[
    ExperimentRecord
    | WarmStartRecord
    | PreparedRecord
    | BaselineRecord
    | StartedRecord
    | AddedRecord
    | PausedRecord
    | UnpausedRecord
    | SearchEndedRecord
    | PackingRecord
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
"""Parses a line of JSON into its record."""
