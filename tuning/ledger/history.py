"""A record as values: each trial's reports and end, accumulated line by line."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from pydantic import JsonValue

from trainables.errors import LedgerError
from tuning.experiment.moved_data import move_values
from tuning.ledger.outcomes import COUNTED, NOT_OVER, STOPPED_EARLY, Ending, Outcome, SearchEndedBy
from tuning.ledger.parent import Parent
from tuning.ledger.records import (
    AddedRecord,
    BaselineRecord,
    BuiltRecord,
    ClosedRecord,
    EndedRecord,
    ExperimentRecord,
    OverBudgetRecord,
    PackingRecord,
    PausedRecord,
    PreparedRecord,
    Record,
    RemovedRecord,
    ReportRecord,
    ResumedRecord,
    ScoredRecord,
    ScoringRecord,
    SearchEndedRecord,
    StartedRecord,
    StoppedRecord,
    UnpausedRecord,
    UnsavedRecord,
    WarmStartRecord,
)


def settings_with(params: Mapping[str, JsonValue], parent: Parent | None) -> Mapping[str, JsonValue]:
    """A trial's parameters, and the epochs that a user gave it if it continues its parent."""
    return params if parent is None or parent.epochs is None else {**params, "epochs": parent.epochs}


@dataclass(frozen=True)
class TrialHistory:
    """The record of one trial."""

    number: int
    params: Mapping[str, JsonValue]
    hash: str
    started: float
    parameters: Mapping[str, int] | None = None
    macs: int | None = None
    """See `BuiltRecord`."""
    latency_ms: float | None = None
    """As it was first measured; see `BuiltRecord`."""
    reports: tuple[ReportRecord, ...] = ()
    stopped: StoppedRecord | None = None
    ended: EndedRecord | None = None
    removed: tuple[str, ...] = ()
    """The names of its checkpoints that were removed to keep the budget."""
    joined: int | None = None
    """How many steps its pack had taken when it joined; see `StartedRecord`."""
    starts: int = 0
    """The number of its last start, from 1; those of before are counted."""
    saved: Mapping[str, str] = field(default_factory=dict)
    """The SHA-256 of its checkpoints by file name, as they were last reported."""
    worker: str | None = None
    """The process that trains it, or did last, as `HOST:PID`; None before its first report."""
    attributes: Mapping[str, JsonValue] = field(default_factory=dict)
    """What the sampler noted of it; see `SamplerAttributes`."""
    parent: Parent | None = None
    """The trial that it begins with, if any."""

    @property
    def outcome(self) -> Outcome | None:
        """How it ended; None while it runs, or if the driver died."""
        return self.ended.outcome if self.ended else None

    @property
    def settings(self) -> Mapping[str, JsonValue]:
        """Its parameters, and the epochs that a user gave it if it continues another trial."""
        return settings_with(self.params, self.parent)

    @property
    def continues(self) -> bool:
        """Whether it continues its parent, as a user asked: no stopping rule sees it."""
        return self.parent is not None and self.parent.of_user

    @property
    def over(self) -> bool:
        """Whether it has ended for good; an interrupted trial can resume."""
        return self.outcome not in NOT_OVER

    @property
    def value(self) -> float | None:
        """The running objective at its end, or at its last report; None while its images are smaller."""
        if self.ended is not None:
            return self.ended.value
        return None if self.on_smaller_images else self.running_objective

    @property
    def running_objective(self) -> float | None:
        """The objective of its last report, which compares only with reports of the same image size."""
        return self.reports[-1].objective if self.reports else None

    @property
    def told_value(self) -> float | None:
        """What a sampler is told: the value, or what it had reached when it ended on smaller images."""
        cut = self.ended is not None and self.on_smaller_images and self.outcome in STOPPED_EARLY
        return self.running_objective if cut else self.value

    @property
    def on_smaller_images(self) -> bool:
        """Whether its last report is of smaller images than the model's own."""
        return bool(self.reports) and self.reports[-1].image_size is not None

    @property
    def feasible(self) -> bool:
        """Whether it has not ended with a broken constraint."""
        return self.ended is None or not self.ended.broken

    @property
    def peak_mb(self) -> float | None:
        """The peak memory over all reports, in MB; None before the first report."""
        return max((report.peak_mb for report in self.reports), default=None)

    @property
    def packed(self) -> bool:
        """Whether its seconds and memory are its share of what a pack took."""
        return any(report.lanes > 1 for report in self.reports)

    @property
    def epoch(self) -> float:
        """The last epoch that it reached."""
        if self.ended is not None and self.ended.epoch is not None:
            return self.ended.epoch
        return self.reports[-1].epoch if self.reports else 0.0

    @property
    def seconds(self) -> float:
        """The time spent on training and evaluation, without start-up."""
        return sum(r.train_s + r.evaluate_s for r in self.reports)


@dataclass(frozen=True)
class History:
    """A whole record. A trial appears in `trials` from its `started` line on, in that order."""

    header: ExperimentRecord
    prepared: PreparedRecord | None = None
    baseline: BaselineRecord | None = None
    trials: dict[int, TrialHistory] = field(default_factory=dict)
    scoring: ScoringRecord | None = None
    """The trials to score on test images, once scoring has begun."""
    scores: dict[int | None, ScoredRecord] = field(default_factory=dict)
    """Test scores by trial, None for the pretrained baseline; a failed one has a reason and no metrics."""
    closed: ClosedRecord | None = None
    earlier: tuple[WarmStartRecord, ...] = ()
    """Finished trials of other experiments."""
    packing: Mapping[str, PackingRecord] = field(default_factory=dict)
    """How many trials a worker takes at once, by what they have in common."""
    added: tuple[AddedRecord, ...] = ()
    """Configurations that users added; `header` counts them among the trials asked for."""
    paused: frozenset[int | None] = frozenset()
    """The trials that users have paused; None: the whole sweep."""
    asked: frozenset[float] = frozenset()
    """When the requests were made that users left for the driver, and that are in the record."""
    moves: tuple[Mapping[str, str], ...] = ()
    """Where data have moved since the launch, one after the other; `header` has them at their last place."""
    sampler: dict[str, JsonValue] = field(default_factory=dict)
    """What the sampler noted of the search as a whole; see `SamplerAttributes`."""
    ends: dict[int, None] = field(default_factory=dict)
    """The trials that have ended, in the order of their ends."""
    furthest: dict[int, float] = field(default_factory=dict)
    """The most epochs that each trial has ever reported, also if it then went back to a checkpoint. Without
    those of the parent whose state it continues."""
    search_ended: SearchEndedRecord | None = None
    """Why nothing more is proposed, unless the search was extended since."""
    extended_at: int = 0
    """The number of trials when a search that had ended was last extended."""

    @classmethod
    def of(cls, header: ExperimentRecord, records: Iterable[Record]) -> History:
        """Build a history from a record, line by line."""
        history = cls(header)
        for record in records:
            history = history.with_record(record)
        return history

    @property
    def name(self) -> str:
        """The experiment's name."""
        return self.header.name

    def trial_of(self, config: str) -> int | None:
        """The first trial of a configuration, by its hash; None if it was not proposed yet."""
        return next((trial.number for trial in self.trials.values() if trial.hash == config), None)

    def is_paused(self, number: int) -> bool:
        """Whether a trial may not run, as it or the whole sweep is paused."""
        return None in self.paused or number in self.paused

    @property
    def epochs_run(self) -> float:
        """The epochs of all trials together. Those that were repeated after a crash count once."""
        return math.fsum(self.furthest.values())

    @property
    def finished(self) -> bool:
        """Whether the last driver finished, and no trial is left to resume."""
        driver_finished = self.closed is not None and self.closed.reason is Ending.FINISHED
        return driver_finished and all(trial.over for trial in self.trials.values())

    def with_read(self, record: Record) -> History:
        """This history with one more record of a file. Raises LedgerError if it contradicts those before it.

        As `with_record`, but an end must have the value of the trial's last report.
        """
        if isinstance(record, EndedRecord):
            _check_value(record, self.trials.get(record.trial if record.of is None else record.of))
        return self.with_record(record)

    def with_record(self, record: Record) -> History:
        """This history with one more record. Changes the dictionaries that both share."""
        match record:
            case WarmStartRecord():
                return replace(self, earlier=(*self.earlier, record))
            case PreparedRecord():
                return replace(self, prepared=record)
            case PackingRecord():
                return replace(self, packing={**self.packing, record.group: record})
            case AddedRecord():
                header, asked = _with_one_more(self.header), self.asked | {record.asked}
                return replace(self, header=header, added=(*self.added, record), asked=asked)
            case PausedRecord():
                paused = self.paused | {record.trial}
                return replace(self, paused=paused, asked=self.asked | {record.asked})
            case UnpausedRecord():
                paused = self.paused - {record.trial}
                return replace(self, paused=paused, asked=self.asked | {record.asked})
            case BaselineRecord():
                return replace(self, baseline=record)
            case ScoringRecord():
                return replace(self, scoring=record)
            case ScoredRecord():
                self.scores[record.trial] = record
                return self
            case ResumedRecord():
                moves = (*self.moves, record.moved) if record.moved else self.moves
                header = _resumed(self.header, record)
                now = replace(self, header=header, moves=moves, scoring=None, closed=None)
                extended = self._extended_by(record)
                return replace(now, search_ended=None, extended_at=len(self.trials)) if extended else now
            case SearchEndedRecord():
                return replace(self, search_ended=record)
            case UnsavedRecord() | OverBudgetRecord():
                return self
            case ClosedRecord():
                return replace(self, closed=record)
            case StartedRecord():
                old = self.trials.get(record.trial)
                noted = record.sampler
                if noted is not None:
                    self.sampler.update(noted.study)
                self.ends.pop(record.trial, None)
                self.trials[record.trial] = (
                    replace(
                        old,
                        stopped=None,
                        ended=None,
                        removed=(),
                        joined=record.joined,
                        worker=None,
                        starts=record.start or old.starts + 1,
                    )
                    if old is not None and old.hash == record.hash
                    else TrialHistory(
                        record.trial,
                        record.params,
                        record.hash,
                        record.time,
                        joined=record.joined,
                        starts=record.start or 1,
                        attributes={} if noted is None else noted.trial,
                        parent=record.parent,
                    )
                )
                return replace(self, closed=None, scoring=None) if self.closed else self
            case BuiltRecord() | ReportRecord() | StoppedRecord() | EndedRecord() | RemovedRecord():
                trial = self.trials.get(record.trial)
                if trial is None:
                    raise LedgerError(f"trial {record.trial} has a line '{record.kind}' before it started")
                self.trials[record.trial] = _with(trial, record)
                if isinstance(record, ReportRecord):
                    own = record.epoch - self._begun_at(trial)
                    self.furthest[record.trial] = max(own, self.furthest.get(record.trial, 0.0))
                if isinstance(record, EndedRecord):
                    self.ends.pop(record.trial, None)
                    self.ends[record.trial] = None
                return self
            case _:
                raise LedgerError(f"unexpected record {type(record).__name__}")

    def _begun_at(self, trial: TrialHistory) -> float:
        """The epoch at which a trial began: that of the state that it continues, or 0."""
        parent = trial.parent
        if parent is None or not parent.state:
            return 0.0
        if parent.epoch is not None:
            return parent.epoch
        return self.trials[parent.trial].epoch if parent.trial in self.trials else 0.0

    def _extended_by(self, record: ResumedRecord) -> bool:
        """Whether a search that has ended goes on."""
        if (ended := self.search_ended) is None:
            return False
        if record.epochs is not None and record.epochs > self.epochs_run:
            return True
        more = record.trials is not None and record.trials > len(self.trials)
        return more and ended.by is not SearchEndedBy.EPOCHS


def _check_value(record: EndedRecord, source: TrialHistory | None) -> None:
    """Raise LedgerError if a trial did not end with the value of its reports.

    source: the trial that has the reports; None if it is not known here.
    """
    if source is None:
        return
    value = source.value
    reached = value if value is not None and math.isfinite(value) else None
    if record.value == reached or (record.value is None and record.outcome not in COUNTED):
        return
    raise LedgerError(
        f"trial {record.trial} ended with the value {record.value}, but its last report has {reached}"
    )


def _with_one_more(header: ExperimentRecord) -> ExperimentRecord:
    """The header with one more trial asked for, if their number is limited."""
    search = header.experiment.get("search")
    if not isinstance(search, dict) or not isinstance(trials := search.get("trials"), int):
        return header
    return header.model_copy(
        update={"experiment": header.experiment | {"search": search | {"trials": trials + 1}}}
    )


def _resumed(header: ExperimentRecord, record: ResumedRecord) -> ExperimentRecord:
    """The header with a new number of trials or epochs, and with data at their new place."""
    experiment = dict(header.experiment)
    new = {"trials": record.trials, "epochs": record.epochs}
    asked = {key: value for key, value in new.items() if value is not None}
    if asked and isinstance(search := experiment.get("search"), dict):
        experiment["search"] = search | asked
    if record.moved:
        experiment = move_values(experiment, record.moved)
    return header if experiment == header.experiment else header.model_copy(update={"experiment": experiment})


def _with(
    trial: TrialHistory, record: BuiltRecord | ReportRecord | StoppedRecord | EndedRecord | RemovedRecord
) -> TrialHistory:
    match record:
        case BuiltRecord():
            first = record.latency_ms if trial.latency_ms is None else trial.latency_ms
            built = replace(trial, parameters=record.parameters, macs=record.macs, worker=record.worker)
            return replace(built, latency_ms=first)
        case ReportRecord():
            kept = trial.reports
            while kept and kept[-1].epoch >= record.epoch:
                kept = kept[:-1]
            saved = {**trial.saved, **record.saved} if record.saved else trial.saved
            return replace(trial, reports=(*kept, record), saved=saved)
        case StoppedRecord():
            return replace(trial, stopped=record)
        case EndedRecord():
            return replace(trial, ended=record)
        case RemovedRecord():
            return replace(trial, removed=(*trial.removed, *record.files))
