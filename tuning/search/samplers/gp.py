"""Optuna's Gaussian process, with one model for each branch of a conditional space."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, GPSampler
from optuna.trial import FrozenTrial
from pydantic import JsonValue

from tuning.experiment.sections.search import GpSpec
from tuning.search.samplers.counted_trials import CountedStudy, counted
from tuning.search.samplers.draw import Draw
from tuning.search.samplers.joint import JointSampler


def build_gp(spec: GpSpec, draw: Draw) -> BaseSampler:
    """Build a Gaussian process that maximizes the logarithm of the expected improvement (Ament et al. 2023).

    Running trials are taken into account as such, pruned ones with the value that they would probably have
    reached.
    """
    return _Gp(spec, draw)


class _Gp(JointSampler):
    """Chooses a branch with the settings that all trials have, then the settings with the branch's trials.

    Optuna's models only settings that every trial has, and draws all others at random. Here a second model
    has all settings of the branch: those whose conditions follow from settings that all trials have. Until a
    branch has enough trials, and for conditions on conditional settings, they are random.
    """

    def __init__(self, spec: GpSpec, draw: Draw) -> None:
        super().__init__(draw)
        self._spec = spec

    def draw_settings(
        self, study: optuna.Study, trial: FrozenTrial, settings: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        view = counted(study)
        if len(view.finished) < self._spec.startup_trials:
            return {}
        labelled = list(self.draw.space.labelled())
        parents = {parent for _, when, _, _ in labelled for parent in when}
        shared = {label: name for name, when, _, label in labelled if not when}
        drawn = self._fit(view, trial, {label: settings[label] for label in shared if label in settings})
        chosen = {name: self._value(label, drawn) for label, name in shared.items() if name in parents}
        branch = {label for _, when, _, label in labelled if _follows(when, chosen)}
        if branch == shared.keys():
            return drawn
        fixed = {label: chosen[name] for label, name in shared.items() if name in chosen}

        def in_branch(other: FrozenTrial) -> bool:
            return branch <= other.params.keys() and all(
                other.params[label] == value for label, value in fixed.items()
            )

        same = view.with_trials(in_branch)
        if len(same.finished) < self._spec.startup_trials:
            return drawn
        open_ = {label: settings[label] for label in branch if label in settings and label not in fixed}
        return drawn | self._fit(same, trial, open_)

    def _fit(
        self, view: CountedStudy, trial: FrozenTrial, settings: Mapping[str, BaseDistribution]
    ) -> dict[str, Any]:
        if not settings:
            return {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            model = GPSampler(
                seed=self.draw.seed,
                n_startup_trials=self._spec.startup_trials,
                deterministic_objective=self._spec.deterministic,
                warn_independent_sampling=False,
            )
        # Sorted: what it proposes depends on the order of the settings, and that of a set is not defined.
        drawn: dict[str, Any] = model.sample_relative(view, trial, dict(sorted(settings.items())))
        return drawn

    def _value(self, label: str, drawn: Mapping[str, Any]) -> JsonValue:
        """The value of a setting that was drawn, or that can have one only."""
        if label in drawn:
            value: JsonValue = drawn[label]
            return value
        return next(domain.at(0) for _, _, domain, own in self.draw.space.labelled() if own == label)


def _follows(when: Mapping[str, Any], chosen: Mapping[str, JsonValue]) -> bool:
    """Whether conditions hold in all configurations that have the chosen values."""
    return all(name in chosen and chosen[name] in allowed for name, allowed in when.items())
