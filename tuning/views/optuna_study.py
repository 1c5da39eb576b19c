"""The record as an Optuna study that lasts: a journal file or a database, for `optuna-dashboard` and others.

Our search has its own study, in memory; nothing is ever read back from this one but what it holds
already. It is named after the experiment, and an attribute says which launch it belongs to, so that
two experiments in one database do not mix. A trial that starts again after it had ended is one more
trial there, as Optuna lets nobody change a trial that is over; the attribute `trial` tells them apart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial
from pydantic import JsonValue

from trainables.specs.workload import Direction
from tuning.experiment.space import scalar
from tuning.experiment.spec import Experiment
from tuning.ledger.history import History, TrialHistory
from tuning.ledger.records import EndedRecord, Outcome, Record, ReportRecord, StartedRecord
from tuning.search.distributions import as_asked, with_scalars
from tuning.search.study import TOLD
from tuning.views.view import View

LAUNCH = "adaptertune"
"""The study's attribute that says whose it is."""
_RUNS = "running"
_METRICS = "study:metric_names"
"""Optuna's own name for what `Study.set_metric_names` sets."""


class StudyStorage(Protocol):
    """Where a study is kept."""

    title: str
    """As messages name it."""

    def open(self) -> BaseStorage:
        """What is there; an empty storage where nothing is, or nothing that can be read."""

    def clear(self, study: int) -> BaseStorage:
        """Takes a study of this launch that contradicts its record out of the way."""

    def refuse(self, study: int, name: str) -> BaseStorage:
        """A study of this name belongs to another launch. Raises StorageError, or makes room for ours."""

    def flush(self) -> None:
        """Writes what was held back."""

    def close(self) -> None:
        """Lets go of it."""


@dataclass
class _Written:
    """A trial as the study has it."""

    id: int
    hash: str
    state: TrialState
    steps: dict[int, float] = field(default_factory=dict)
    """Empty once it is over."""


class StudyView(View):
    """Keeps a study up to date with the record."""

    def __init__(self, experiment: Experiment, shelf: StudyStorage) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.title = shelf.title
        self._experiment = experiment
        self._shelf = shelf
        self._storage: BaseStorage | None = None
        self._study = -1
        self._written: dict[int, _Written] = {}
        self._distributions: dict[str, BaseDistribution] = {}

    # --- as views are called ------------------------------------------------------------------

    def begin(self, history: History) -> None:
        """See `View`."""
        launch = {"experiment": history.name, "launched": history.header.time}
        self._open(history.name, launch)
        assert self._storage is not None
        found = self._storage.get_all_trials(self._study, deepcopy=False)
        if not all(self._fits(trial, history) for trial in found):
            self._storage = self._shelf.clear(self._study)
            self._create(history.name, launch)
            found = []
        for trial in found:
            number = trial.user_attrs["trial"]
            steps = {} if trial.state.is_finished() else dict(trial.intermediate_values)
            self._written[number] = _Written(trial._trial_id, trial.user_attrs["hash"], trial.state, steps)
        for ours in history.trials.values():
            self._bring(ours, history)
        self._shelf.flush()

    def observe(self, record: Record) -> None:
        """See `View`."""
        match record:
            case StartedRecord():
                self._start(record)
            case ReportRecord():
                if record.trial in self._written:
                    self._report(self._written[record.trial], record)
            case EndedRecord():
                if record.trial in self._written:
                    self._end(self._written[record.trial], record)
            case _:
                pass

    def settle(self) -> None:
        """See `View`."""
        self._shelf.flush()

    def close(self) -> None:
        """See `View`."""
        self._shelf.close()

    # --- the study ----------------------------------------------------------------------------

    def _open(self, name: str, launch: Mapping[str, Any]) -> None:
        self._storage = self._shelf.open()
        try:
            self._study = self._storage.get_study_id_from_name(name)
        except KeyError:
            self._create(name, launch)
            return
        known = self._storage.get_study_user_attrs(self._study).get(LAUNCH)
        if known == launch:
            return
        empty = not self._storage.get_all_trials(self._study, deepcopy=False)
        if known is None and empty and self._storage.get_study_directions(self._study) == [self._direction]:
            # A driver died between the two lines that make a study.
            self._storage.set_study_user_attr(self._study, LAUNCH, dict(launch))
            return
        self._storage = self._shelf.refuse(self._study, name)
        self._create(name, launch)

    def _create(self, name: str, launch: Mapping[str, Any]) -> None:
        assert self._storage is not None
        self._study = self._storage.create_new_study([self._direction], name)
        self._storage.set_study_user_attr(self._study, LAUNCH, dict(launch))
        metric = self._experiment.workload.objective.metric
        self._storage.set_study_system_attr(self._study, _METRICS, [metric])

    @property
    def _direction(self) -> StudyDirection:
        maximize = self._experiment.workload.direction is Direction.MAXIMIZE
        return StudyDirection.MAXIMIZE if maximize else StudyDirection.MINIMIZE

    def _fits(self, trial: FrozenTrial, history: History) -> bool:
        """Whether the record can have led to this trial of the study."""
        ours = history.trials.get(trial.user_attrs.get("trial", -1))
        if ours is None or trial.user_attrs.get("hash") != ours.hash:
            return False
        if trial.state not in (TrialState.COMPLETE, TrialState.PRUNED):
            return True
        # What ended with a value never starts again.
        state, value = self._told(ours.ended, history) if ours.ended is not None else (None, None)
        return trial.state is state and trial.value == value

    def _bring(self, ours: TrialHistory, history: History) -> None:
        known = self._written.get(ours.number)
        ended = ours.ended
        if known is None or known.state is TrialState.FAIL:
            if known is not None and ended is not None and self._told(ended, history)[0] is TrialState.FAIL:
                return
            self._written[ours.number] = self._create_trial(ours, history)
            return
        if known.state.is_finished():
            return
        for report in ours.reports:
            self._report(known, report)
        if ended is not None:
            self._end(known, ended, history)

    # --- its trials ---------------------------------------------------------------------------

    def _create_trial(self, ours: TrialHistory, history: History | None = None) -> _Written:
        """One more trial, as far as the record has it."""
        assert self._storage is not None
        given = as_asked(self._experiment.space, ours.params, self._distributions)
        state, value, ended = TrialState.RUNNING, None, ours.ended
        attributes: dict[str, Any] = {"trial": ours.number, "hash": ours.hash, "outcome": _RUNS}
        if ended is not None:
            state, value = self._told(ended, history)
            attributes |= _attributes(ended)
        steps: dict[int, float] = {}
        for report in ours.reports:
            if (step := _step(report)) is not None:
                steps[step] = report.objective  # type: ignore[assignment]
        distributions = {name: with_scalars(self._distributions[name]) for name in given}
        trial = create_trial(
            state=state,
            value=value,
            params={name: scalar(value) for name, value in given.items()},
            distributions=distributions,
            intermediate_values=steps,
            user_attrs=attributes,
        )
        trial.datetime_start = datetime.fromtimestamp(ours.started)
        trial.datetime_complete = (
            datetime.fromtimestamp(ended.time) if ended is not None and state.is_finished() else None
        )
        number = self._storage.create_new_trial(self._study, template_trial=trial)
        return _Written(number, ours.hash, state, {} if state.is_finished() else steps)

    def _start(self, record: StartedRecord) -> None:
        known = self._written.get(record.trial)
        if known is not None and known.hash == record.hash and not known.state.is_finished():
            assert self._storage is not None
            self._storage.set_trial_user_attr(known.id, "outcome", _RUNS)  # it goes on
            return
        new = self._create_trial(TrialHistory(record.trial, record.params, record.hash, record.time))
        self._written[record.trial] = new
        if known is not None and known.hash == record.hash and known.state is TrialState.FAIL:
            assert self._storage is not None
            new.steps = dict(self._storage.get_trial(known.id).intermediate_values)  # it goes on from these
            for step, objective in new.steps.items():
                self._storage.set_trial_intermediate_value(new.id, step, objective)

    def _report(self, known: _Written, record: ReportRecord) -> None:
        step = _step(record)
        if step is None or known.state.is_finished() or known.steps.get(step) == record.objective:
            return
        assert self._storage is not None
        assert record.objective is not None
        known.steps[step] = record.objective
        self._storage.set_trial_intermediate_value(known.id, step, record.objective)

    def _end(self, known: _Written, record: EndedRecord, history: History | None = None) -> None:
        if known.state.is_finished():
            return
        assert self._storage is not None
        state, value = self._told(record, history)
        for name, attribute in _attributes(record).items():
            self._storage.set_trial_user_attr(known.id, name, attribute)
        if state.is_finished():
            self._storage.set_trial_state_values(known.id, state, None if value is None else [value])
            known.steps = {}
        known.state = state

    def _told(self, record: EndedRecord, history: History | None = None) -> tuple[TrialState, float | None]:
        """Its state and value for Optuna. An interrupted trial still runs: it goes on when the sweep does."""
        if record.outcome is Outcome.INTERRUPTED:
            return TrialState.RUNNING, None
        state = TOLD.get(record.outcome, TrialState.COMPLETE)
        if record.outcome is Outcome.REUSED and record.of is not None:
            if record.of in self._written:
                state = self._written[record.of].state
            elif history is not None and (source := history.trials[record.of].ended) is not None:
                state = TOLD.get(source.outcome, TrialState.COMPLETE)
        if state is TrialState.FAIL or record.value is None or not math.isfinite(record.value):
            return TrialState.FAIL, None
        return state, record.value


def _attributes(record: EndedRecord) -> dict[str, JsonValue]:
    told = {
        "outcome": record.outcome.value,
        "epoch": record.epoch,
        "reason": record.reason,
        "reuses": record.of,
    }
    return {name: value for name, value in told.items() if value is not None}


def _step(record: ReportRecord) -> int | None:
    """Thousandths of an epoch, as in the study that the search uses; None for no figure."""
    if record.objective is None or not math.isfinite(record.objective):
        return None
    return round(record.epoch * 1000)
