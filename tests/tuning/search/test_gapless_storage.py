"""A draw that is thrown away leaves no trace in the study."""

from __future__ import annotations

import optuna
from optuna.trial import FrozenTrial, TrialState

from tuning.search.gapless_storage import GaplessStorage


def places(study: optuna.Study) -> list[tuple[int, int, TrialState]]:
    return [(trial.number, trial._trial_id, trial.state) for trial in study.trials]


def test_a_recycled_trial_is_asked_for_next_and_is_empty() -> None:
    storage = GaplessStorage()
    study = optuna.create_study(storage=storage)
    study.tell(study.ask(), 1.0)
    study.ask()
    thrown = study.ask()
    thrown.suggest_float("x", 0.0, 1.0)
    storage.set_trial_system_attr(thrown._trial_id, "generation", 3)
    storage.recycle(thrown._trial_id)
    again = study.ask()
    assert again.number == thrown.number == 2
    frozen: FrozenTrial = storage.get_trial(again._trial_id)
    assert (frozen.params, frozen.system_attrs, frozen.state) == ({}, {}, TrialState.RUNNING)
    assert places(study) == [
        (0, 0, TrialState.COMPLETE),
        (1, 1, TrialState.RUNNING),
        (2, 2, TrialState.RUNNING),
    ]
    assert study.ask().number == 3


def test_attributes_of_the_study_can_be_taken_back() -> None:
    storage = GaplessStorage()
    study = optuna.create_study(storage=storage)
    before = dict(storage.get_study_system_attrs(study._study_id))
    storage.set_study_system_attr(study._study_id, "place", 4)
    storage.restore_attributes(study._study_id, before)
    assert storage.get_study_system_attrs(study._study_id) == before
