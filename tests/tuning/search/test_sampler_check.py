"""Samplers of `search.optuna`: which are refused before anything runs, and how."""

from __future__ import annotations

from typing import Any

import optuna
import pytest
from optuna.samplers import RandomSampler
from scripted import experiment

from trainables.errors import ExperimentFileError
from tuning.experiment.spec import Experiment
from tuning.search.sampler_check import check_sampler

SPACE = {"learning_rate": {"float": [1e-5, 1e-1], "log": True}, "lora.rank": {"choice": [2, 4]}}


def named(sampler: str, **more: Any) -> Experiment:
    return experiment(search={"optuna": {"sampler": sampler, **more}, "trials": 12}, space=SPACE)


class Counting(RandomSampler):  # type: ignore[misc]
    """Remembers how often it drew, in a place that no record has."""

    drawn = 0

    def sample_independent(self, *given: Any) -> Any:
        Counting.drawn += 1
        self._rng.rng.seed(Counting.drawn)
        return super().sample_independent(*given)


class Pickling(RandomSampler):  # type: ignore[misc]
    """Notes what is no JSON."""

    def before_trial(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        study._storage.set_trial_system_attr(trial._trial_id, "state", object())


@pytest.fixture(autouse=True)
def _offered(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (Counting, Pickling):
        monkeypatch.setattr(optuna.samplers, kind.__name__, kind, raising=False)
    monkeypatch.setattr(optuna.samplers, "__all__", [*optuna.samplers.__all__, "Counting", "Pickling"])


@pytest.mark.parametrize("sampler", ["NSGAIIISampler", "TPESampler", "RandomSampler"])
def test_samplers_of_optuna_are_replayable(sampler: str) -> None:
    check_sampler(named(sampler))


def test_a_sampler_that_remembers_is_refused_unless_the_file_allows_it() -> None:
    with pytest.raises(ExperimentFileError, match=r"search\.optuna\.sampler  Counting is not a function of"):
        check_sampler(named("Counting"))
    check_sampler(named("Counting", replayable=False))


def test_a_sampler_whose_notes_cannot_be_recorded_is_refused() -> None:
    with pytest.raises(ExperimentFileError, match=r"Pickling fails in a rehearsal of this search"):
        check_sampler(named("Pickling"))


@pytest.mark.parametrize(
    ("sampler", "arguments", "message"),
    [
        ("NSGAIIISampl", {}, r"sampler  must be a sampler of Optuna .*got 'NSGAIIISampl'; did you mean"),
        ("BaseSampler", {}, r"sampler  must be a sampler of Optuna .*got 'BaseSampler'"),
        ("CmaEsSampler", {}, r"sampler  cannot be CmaEsSampler: .*use search\.cmaes"),
        ("GridSampler", {}, r"sampler  cannot be GridSampler: .*use search\.grid"),
        ("BruteForceSampler", {}, r"sampler  cannot be BruteForceSampler: .*use search\.grid"),
        ("QMCSampler", {}, r"sampler  cannot be QMCSampler: .*use search\.qmc"),
        ("PartialFixedSampler", {}, r"sampler  cannot be PartialFixedSampler: .*under `trial`"),
        ("NSGAIIISampler", {"seed": 3}, r"arguments\.seed  is set for each proposal.*use search\.seed"),
        (
            "NSGAIIISampler",
            {"population": 3},
            r"arguments\.population  is no argument of NSGAIIISampler.*size",
        ),
        (
            "NSGAIIISampler",
            {"population_size": 1},
            r"arguments  NSGAIIISampler refuses .*greater than or equal",
        ),
        ("NSGAIIISampler", {"crossover": "sbx"}, r"arguments  NSGAIIISampler refuses .*sbx"),
        ("TPESampler", {"gamma": 3}, r"sampler  TPESampler fails in a rehearsal of this search: TypeError"),
    ],
)
def test_what_cannot_be_built_is_refused(sampler: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ExperimentFileError, match=r"search\.optuna\." + message):
        check_sampler(named(sampler, arguments=arguments))


def test_an_error_has_the_line_of_its_file() -> None:
    text = "name: pets\nsearch:\n  trials: 12\n  optuna:\n    sampler: Counting\n"
    of = named("Counting").model_copy(update={"source_text": text})
    with pytest.raises(
        ExperimentFileError, match=r"pets\.yaml: 1 error\n  line 5  search\.optuna\.sampler  "
    ):
        check_sampler(of, "pets.yaml")
