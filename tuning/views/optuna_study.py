"""The record as a persistent Optuna study: a journal file or a database, for `optuna-dashboard` and others.

The search has its own study in memory and never reads this one, except to bring it up to date. The study
is named after the experiment, and an attribute identifies its launch, so that two experiments in one
database do not mix. A trial that starts again after it had ended becomes a new trial of the study, because
Optuna does not allow changes of a finished trial; the attribute `trial` has our number.
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
from tuning.experiment.alternative import as_scalar
from tuning.experiment.goals import Goals
from tuning.experiment.spec import Experiment
from tuning.ledger.history import History, TrialHistory
from tuning.ledger.outcomes import NOT_OVER, Outcome
from tuning.ledger.records import EndedRecord, Record, ReportRecord, StartedRecord
from tuning.search.distributions import as_asked, with_scalars
from tuning.search.told import TOLD, Told
from tuning.views.view import View

LAUNCH = "adaptertune"
"""The study's attribute that identifies its launch."""
_RUNS = "running"
_CONSTRAINT = "constraints:"
"""Before a name: the attribute that Optuna's `Trial.set_constraint` sets."""
_METRICS = "study:metric_names"
"""The attribute that Optuna's `Study.set_metric_names` sets."""


class StudyStorage(Protocol):
    """The place where a study is stored."""

    title: str
    """Its name in messages."""

    def open(self) -> BaseStorage:
        """Open the storage; empty if nothing exists yet, or nothing that can be read."""

    def clear(self, study: int) -> BaseStorage:
        """Remove a study of this launch that contradicts its record."""

    def refuse(self, study: int, name: str) -> BaseStorage:
        """Handle a study of this name from another launch: raise StorageError, or move it away."""

    def flush(self) -> None:
        """Write everything that was held back."""

    def close(self) -> None:
        """Close the storage."""


@dataclass
class _Written:
    """A trial as stored in the study."""

    id: int
    hash: str
    state: TrialState
    steps: dict[int, float] = field(default_factory=dict)
    """Empty once the trial is over."""


class StudyView(View):
    """Keeps a study up to date with the record."""

    def __init__(self, experiment: Experiment, study_storage: StudyStorage) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.title = study_storage.title
        self._experiment = experiment
        self._goals = Goals.of(experiment)
        self._told = Told(self._goals)
        self._study_storage = study_storage
        self._storage: BaseStorage | None = None
        self._study = -1
        self._written: dict[int, _Written] = {}
        self._distributions: dict[str, BaseDistribution] = {}

    # --- the methods of a view ----------------------------------------------------------------

    def begin(self, history: History) -> None:
        """See `View`."""
        launch = {"experiment": history.name, "launched": history.header.time}
        self._open(history.name, launch)
        assert self._storage is not None
        found = self._storage.get_all_trials(self._study, deepcopy=False)
        if not all(self._fits(trial, history) for trial in found):
            self._storage = self._study_storage.clear(self._study)
            self._create(history.name, launch)
            found = []
        for trial in found:
            number = trial.user_attrs["trial"]
            steps = {} if trial.state.is_finished() else dict(trial.intermediate_values)
            self._written[number] = _Written(trial._trial_id, trial.user_attrs["hash"], trial.state, steps)
        for ours in history.trials.values():
            self._bring(ours, history)
        self._study_storage.flush()

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
        self._study_storage.flush()

    def close(self) -> None:
        """See `View`."""
        self._study_storage.close()

    # --- the study ----------------------------------------------------------------------------

    def _open(self, name: str, launch: Mapping[str, Any]) -> None:
        self._storage = self._study_storage.open()
        try:
            self._study = self._storage.get_study_id_from_name(name)
        except KeyError:
            self._create(name, launch)
            return
        known = self._storage.get_study_user_attrs(self._study).get(LAUNCH)
        if known == launch:
            return
        empty = not self._storage.get_all_trials(self._study, deepcopy=False)
        if known is None and empty and self._storage.get_study_directions(self._study) == self._directions:
            # A driver died between the two writes that create a study.
            self._storage.set_study_user_attr(self._study, LAUNCH, dict(launch))
            return
        self._storage = self._study_storage.refuse(self._study, name)
        self._create(name, launch)

    def _create(self, name: str, launch: Mapping[str, Any]) -> None:
        assert self._storage is not None
        self._study = self._storage.create_new_study(self._directions, name)
        self._storage.set_study_user_attr(self._study, LAUNCH, dict(launch))
        metrics = [goal.metric for goal in self._goals.objectives]
        self._storage.set_study_system_attr(self._study, _METRICS, metrics)

    @property
    def _directions(self) -> list[StudyDirection]:
        return [
            StudyDirection.MAXIMIZE if goal.direction is Direction.MAXIMIZE else StudyDirection.MINIMIZE
            for goal in self._goals.objectives
        ]

    def _fits(self, trial: FrozenTrial, history: History) -> bool:
        """Whether this trial of the study is consistent with the record."""
        ours = history.trials.get(trial.user_attrs.get("trial", -1))
        if ours is None or trial.user_attrs.get("hash") != ours.hash:
            return False
        if trial.state not in (TrialState.COMPLETE, TrialState.PRUNED):
            return True
        # A trial that ended with a value never starts again.
        if ours.ended is None:
            return False
        state, values = self._state_and_values(ours.ended, history)
        return trial.state is state and trial.values == values

    def _bring(self, ours: TrialHistory, history: History) -> None:
        known = self._written.get(ours.number)
        ended = ours.ended
        if known is None or known.state is TrialState.FAIL:
            if (
                known is not None
                and ended is not None
                and self._state_and_values(ended, history)[0] is TrialState.FAIL
            ):
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
        """Add a trial to the study, with everything that the record has of it."""
        assert self._storage is not None
        given = as_asked(self._experiment.space, ours.params, self._distributions)
        state, values, ended = TrialState.RUNNING, None, ours.ended
        attributes: dict[str, Any] = {"trial": ours.number, "hash": ours.hash, "outcome": _RUNS}
        if ended is not None:
            state, values = self._state_and_values(ended, history)
            attributes |= _attributes(ended)
        steps: dict[int, float] = {}
        for report in () if self._goals.several else ours.reports:
            if (step := _step(report)) is not None:
                steps[step] = report.objective  # type: ignore[assignment]
        distributions = {name: with_scalars(self._distributions[name]) for name in given}
        trial = create_trial(
            state=state,
            values=values,
            params={name: as_scalar(value) for name, value in given.items()},
            distributions=distributions,
            intermediate_values=steps,
            user_attrs=attributes,
            constraints=self._constraints(ended),
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
            self._storage.set_trial_user_attr(known.id, "outcome", _RUNS)  # it resumes
            return
        new = self._create_trial(TrialHistory(record.trial, record.params, record.hash, record.time))
        self._written[record.trial] = new
        if known is not None and known.hash == record.hash and known.state is TrialState.FAIL:
            assert self._storage is not None
            new.steps = dict(self._storage.get_trial(known.id).intermediate_values)  # it resumes from these
            for step, objective in new.steps.items():
                self._storage.set_trial_intermediate_value(new.id, step, objective)

    def _report(self, known: _Written, record: ReportRecord) -> None:
        step = None if self._goals.several else _step(record)  # Optuna takes none then
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
        state, values = self._state_and_values(record, history)
        if state.is_finished():
            for name, violation in self._constraints(record).items():
                self._storage.set_trial_system_attr(known.id, f"{_CONSTRAINT}{name}", violation)
        for name, attribute in _attributes(record).items():
            self._storage.set_trial_user_attr(known.id, name, attribute)
        if state.is_finished():
            self._storage.set_trial_state_values(known.id, state, values)
            known.steps = {}
        known.state = state

    def _constraints(self, record: EndedRecord | None) -> dict[str, float]:
        """By how much a trial breaks each constraint; empty while it runs, and without a value."""
        if record is None or record.outcome in NOT_OVER:
            return {}
        return self._goals.violations(record.values) or {}

    def _state_and_values(
        self, record: EndedRecord, history: History | None = None
    ) -> tuple[TrialState, list[float] | None]:
        """Its state and values for Optuna. An interrupted trial is running: it resumes with the sweep."""
        if record.outcome in NOT_OVER:
            return TrialState.RUNNING, None
        state = TOLD.get(record.outcome, TrialState.COMPLETE)
        if record.outcome is Outcome.REUSED and record.of is not None:
            if record.of in self._written:
                state = self._written[record.of].state
            elif history is not None and (source := history.trials[record.of].ended) is not None:
                state = TOLD.get(source.outcome, TrialState.COMPLETE)
        if state is TrialState.PRUNED and record.value is None and record.epoch:  # on smaller images
            return state, None
        if state is TrialState.FAIL or record.value is None or not math.isfinite(record.value):
            return TrialState.FAIL, None
        told = self._told.of(TrialState.COMPLETE, record.value, record.values)
        # A pruned trial is shown with what it had reached; Optuna allows that.
        return (state, told.values) if told.values is not None else (TrialState.FAIL, None)


def _attributes(record: EndedRecord) -> dict[str, JsonValue]:
    attributes = {
        "outcome": record.outcome.value,
        "epoch": record.epoch,
        "reason": record.reason,
        "reuses": record.of,
    }
    return {name: value for name, value in attributes.items() if value is not None}


def _step(record: ReportRecord) -> int | None:
    """The report's step in thousandths of an epoch, as in the search's study; None without a finite value."""
    if record.objective is None or not math.isfinite(record.objective):
        return None
    return round(record.epoch * 1000)
