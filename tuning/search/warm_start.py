"""What a search learns from earlier experiments (`search.from`).

Their finished trials are added to the study before the first configuration is drawn, in the form of this
experiment's space. They are kept in this experiment's ledger, so the other experiments may be deleted.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import JsonValue

from trainables.errors import AdaptertuneError, ExperimentFileError, LedgerError
from trainables.specs.trial import TrialConfig
from trainables.wording import plural
from tuning.experiment.differences import find_differences
from tuning.experiment.dotted import dotted_leaves
from tuning.experiment.goals import Goals
from tuning.experiment.space import SECTION_NAMES, config_hash
from tuning.experiment.spec import Experiment
from tuning.ledger.header import experiment_of
from tuning.ledger.history import History, TrialHistory
from tuning.ledger.ledger import read_history
from tuning.ledger.outcomes import RAN_TO_END, Outcome
from tuning.ledger.recorder import Halt, Recorder
from tuning.ledger.records import EarlierTrial, WarmStartRecord
from tuning.ledger.storage import find_experiment
from tuning.ledger.trial_values import values_of

_TAKEN = frozenset({*RAN_TO_END, Outcome.PRUNED})
_MAY_DIFFER = ("model.", "data.", "trial.")
"""Keys in which experiments may differ and still learn from each other; differences are reported."""


def read_earlier_trials(experiment: Experiment, storage: Path, *, known: int = 0) -> list[WarmStartRecord]:
    """Read the trials to learn from in each experiment of `search.from`, except the first `known`.

    Raises StorageError for an experiment that does not exist, LedgerError for one that cannot be read, and
    ExperimentFileError for one with another task or objective.
    """
    return [_record(name, experiment, storage) for name in experiment.search.from_[known:]]


def record_earlier_trials(records: Iterable[WarmStartRecord], recorder: Recorder) -> None:
    """Write the records to the sweep's ledger. Raises StorageError if the disk is full."""
    for record in records:
        try:
            recorder.record(record)
        except Halt as halt:
            raise (halt.error or halt) from halt


def describe_earlier_trials(record: WarmStartRecord) -> list[str]:
    """Describe in lines of text what was taken, what was left out and what differs in that experiment."""
    total = len(record.taken) + len(record.dropped)
    lines = [f"learns from {record.experiment}: {len(record.taken)} of its {plural(total, 'trial')}"]
    reasons = Counter(reason.partition(", got ")[0] for reason in record.dropped.values())
    lines += [f"  left out, {number}: {reason}" for reason, number in reasons.most_common()]
    lines += [f"  differs: {difference}" for difference in record.differs]
    return lines


def _record(name: str, ours: Experiment, storage: Path) -> WarmStartRecord:
    history = read_history(find_experiment(name, storage))
    theirs = _experiment(name, history)
    _refuse_other_objective(name, theirs, ours)
    goals = Goals.of(ours)
    taken: list[EarlierTrial] = []
    dropped: dict[int, str] = {}
    weighed = _Weighed(goals)
    for number, trial in sorted(history.trials.items()):
        found = weighed.with_values(_translated(trial, theirs, ours), trial)
        if isinstance(found, str):
            dropped[number] = found
        else:
            taken.append(found)
    weighed.require(name)
    searched = {f"trial.{name}" for name in (*theirs.space.names, *ours.space.names)}
    differs = [
        str(difference)
        for difference in find_differences(theirs, ours)
        if difference.key.startswith(_MAY_DIFFER) and difference.key not in searched
    ]
    return WarmStartRecord(experiment=name, taken=taken, dropped=dropped, differs=differs)


def _experiment(name: str, history: History) -> Experiment:
    try:
        return experiment_of(history.header)
    except LedgerError as error:
        raise LedgerError(f"search.from: {name}: {error}, or take it out of search.from") from error


def _refuse_other_objective(name: str, theirs: Experiment, ours: Experiment) -> None:
    def aims(of: Experiment) -> tuple[str, ...]:
        objective, direction = of.objective, of.workload.direction
        return (of.task.value, f"{objective.metric}, {direction.value}", f"{objective.value.value} report")

    if (there := aims(theirs)) != (here := aims(ours)):
        raise ExperimentFileError(
            f"search.from: trials of {name} have another task or objective ({'; '.join(there)}) than this"
            f" experiment ({'; '.join(here)}) and would mislead its search; take {name} out of search.from"
        )
    main = ours.task.facts.main_metric
    for metric in Goals.of(ours).metrics:
        if (difference := ours.definitions.differs(metric, theirs.definitions, main=main)) is not None:
            raise ExperimentFileError(
                f"search.from: values of {metric} in {name} mean something else ({difference}) and would"
                f" mislead this search; take {name} out of search.from, or launch it again"
            )


class _Weighed:
    """The values of earlier trials, where this search has several objectives or constraints."""

    def __init__(self, goals: Goals) -> None:
        self._goals = goals
        self._found: set[str] = set()
        """The metrics that any trial has."""
        self._tried = False

    def with_values(self, found: EarlierTrial | str, trial: TrialHistory) -> EarlierTrial | str:
        """The trial with the values of all metrics; why not, if it lacks one."""
        if self._goals.single or isinstance(found, str):
            return found
        values = values_of(trial, self._goals)
        self._tried, self._found = True, self._found | values.keys()
        for metric in self._goals.metrics:
            if metric not in values:
                return f"no value of {metric}"
        return found.model_copy(update={"values": values})

    def require(self, name: str) -> None:
        """Raise ExperimentFileError if the other experiment has not recorded a metric at all."""
        lacking = [metric for metric in self._goals.metrics if self._tried and metric not in self._found]
        if lacking:
            raise ExperimentFileError(
                f"search.from: trials of {name} have not recorded {' and '.join(lacking)}, which this search"
                f" weighs; take {name} out of search.from, or {' and '.join(lacking)} out of objective and"
                " constraints"
            )


def _translated(trial: TrialHistory, theirs: Experiment, ours: Experiment) -> EarlierTrial | str:
    """Return the trial in the form of our space, or the reason why it is not in it."""
    if trial.outcome not in _TAKEN:
        return "not ended" if trial.outcome is None else trial.outcome.value
    value = trial.value
    if value is None or not math.isfinite(value):
        return "no value"
    try:
        there = _settings(theirs.trial_config(trial.params))
    except AdaptertuneError:
        return "its configuration is no longer valid"
    given: dict[str, JsonValue] = {}
    for name in ours.space.order:
        if name in there and ours.space.active(name, given) is not None:
            given[name] = there[name]
    given |= _as_drawn(given, trial, ours)
    params, errors = ours.space.locate(given)
    try:
        here = _settings(ours.trial_config(params))
    except AdaptertuneError as error:
        here, errors = {}, errors or {"": str(error)}
    # Fixed settings are compared first: a parameter may be missing because the adapter is another one.
    for name in trial.params if here else ():
        if name not in errors and not _equal(there.get(name), here.get(name)):
            return f"{name} is {json.dumps(here.get(name))} here, got {json.dumps(there.get(name))}"
    for name, rule in errors.items():
        return f"{name} {rule}".strip()
    return EarlierTrial(
        trial=trial.number, params=params, outcome=trial.outcome, value=value, epoch=trial.epoch
    )


def _as_drawn(given: Mapping[str, JsonValue], trial: TrialHistory, ours: Experiment) -> dict[str, JsonValue]:
    """The learning rates that our space scales, as it would have drawn them.

    given: with the rates at which the trial trained.
    """
    found: dict[str, JsonValue] = {}
    for name, scale in ours.scales(given).items():
        rate, drawn = given[name], trial.params.get(name)
        assert isinstance(rate, int | float)
        same = isinstance(drawn, int | float) and math.isclose(drawn * scale, rate, rel_tol=1e-12)
        found[name] = drawn if same else rate / scale
    return found


def _equal(there: JsonValue, here: JsonValue) -> bool:
    if isinstance(there, float) and isinstance(here, float):  # a scaled rate is rounded
        return math.isclose(there, here, rel_tol=1e-12)
    return config_hash({"": there}) == config_hash({"": here})


def _settings(config: TrialConfig) -> Mapping[str, JsonValue]:
    """Return each setting by dotted name, defaults filled in, with the section of the chosen adapter only."""
    values = {k: v for k, v in config.model_dump(mode="json").items() if k not in SECTION_NAMES}
    if config.section is not None:
        values[config.adapter.value] = config.section.model_dump(mode="json")
        values["targets"] = values["targets"] or [role.value for role in config.roles]
    values["freezing"] = config.mode.value
    return dict(dotted_leaves(values))
