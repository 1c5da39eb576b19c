"""The trials of a study as samplers see them that count finished trials only."""

from __future__ import annotations

import copy
from collections.abc import Callable, Container, Iterable
from typing import Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from tuning.search.samplers.pruned_values import as_curve, estimate_final

ENDED = "ended"
"""The attribute of a trial that tells the order of ends."""
EARLIER = "earlier"
"""The attribute of a trial of another experiment: its name and the trial's number."""

REACHED = "reached"
"""With several objectives: the attribute of a pruned trial with the values that it had reached."""


class CountedStudy:
    """A study in which pruned trials are finished, with the value that they would probably have reached.

    Of running trials only the settings are seen. Otherwise it is the study that it is made from.
    """

    def __init__(self, study: optuna.Study, trials: list[FrozenTrial]) -> None:
        self._study = study
        self._all = trials

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        return [trial for trial in self._all if states is None or trial.state in states]

    get_trials = _get_trials

    @property
    def finished(self) -> list[FrozenTrial]:
        """The finished trials of all experiments, in the order of their places."""
        return self._get_trials(states=(TrialState.COMPLETE,))

    def with_trials(self, keep: Callable[[FrozenTrial], bool]) -> CountedStudy:
        """The same study with some of its trials."""
        return CountedStudy(self._study, [trial for trial in self._all if keep(trial)])


def counted(study: optuna.Study) -> CountedStudy:
    """Build the view of a study.

    With several objectives a pruned trial counts with the values that it had reached: its cost is known, and
    what it would have gained is not estimated.
    """
    trials = study.get_trials(deepcopy=False)
    estimate = _estimate(study, trials) if len(study.directions) == 1 else _values_reached
    seen = []
    for trial in trials:
        if trial.state is TrialState.COMPLETE:
            seen.append(trial)
        elif trial.state is TrialState.RUNNING and trial.params:
            seen.append(_changed(trial, system_attrs={}))
        elif trial.state is TrialState.PRUNED and (values := estimate(trial)) is not None:
            seen.append(_changed(trial, state=TrialState.COMPLETE, values=values))
    return CountedStudy(study, seen)


def _values_reached(trial: FrozenTrial) -> list[float] | None:
    values: list[float] | None = trial.user_attrs.get(REACHED)
    return values


def _estimate(study: optuna.Study, trials: list[FrozenTrial]) -> Callable[[FrozenTrial], list[float] | None]:
    """The value that a pruned trial would have reached, see `estimate_final`."""
    finished = [
        (as_curve(trial.intermediate_values), trial.value)
        for trial in trials
        if trial.state is TrialState.COMPLETE
    ]
    maximize = study.direction is StudyDirection.MAXIMIZE
    known: dict[int, tuple[float, float] | None] = {}

    def estimate(trial: FrozenTrial) -> list[float] | None:
        value = estimate_final(as_curve(trial.intermediate_values), finished, maximize=maximize, known=known)
        return None if value is None else [value]

    return estimate


def by_end(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """Trials in the order of their ends, after those of other experiments in the order given."""
    return sorted(trials, key=lambda trial: trial.user_attrs.get(ENDED, -1))


def _changed(trial: FrozenTrial, **values: Any) -> FrozenTrial:
    copied = copy.copy(trial)
    for name, value in values.items():
        setattr(copied, name, value)
    return copied
