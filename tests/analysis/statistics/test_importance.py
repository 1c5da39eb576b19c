"""The importance of settings, on simulated sweeps with known effects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recorded import LORA, Told, experiment, write

from analysis.errors import NothingToRankError, QueryError
from analysis.query.sweep import Sweep
from analysis.statistics.importance import (
    Importances,
    importance_table,
    importances,
    interactions,
)
from tuning.ledger.outcomes import Outcome

SPACE = {
    "adapter": {"choice": ["none", "lora"]},
    "freezing": [
        {"choice": ["head_only", "full"], "when": {"adapter": "none"}},
        {"choice": ["frozen", "unfrozen"], "when": {"adapter": "lora"}},
    ],
    "learning_rate": {"float": [1e-4, 1e-1], "log": True},
    "weight_decay": {"float": [0.0, 0.1]},
    "lora.rank": {"choice": [4, 8, 16], "when": {"adapter": "lora"}},
}

Quality = Callable[[Mapping[str, Any], np.random.Generator], float]


def sweep_of(folder: Path, quality: Quality, *, trials: int = 60, failed: int = 0) -> Sweep:
    rng = np.random.default_rng(4)
    told = []
    for number in range(trials):
        params: dict[str, Any] = {"adapter": ["none", "lora"][int(rng.integers(2))]}
        lora = params["adapter"] == "lora"
        params["freezing"] = (["frozen", "unfrozen"] if lora else ["head_only", "full"])[int(rng.integers(2))]
        params["learning_rate"] = float(10 ** rng.uniform(-4, -1))
        params["weight_decay"] = float(rng.uniform(0, 0.1))
        if lora:
            params["lora.rank"] = [4, 8, 16][int(rng.integers(3))]
        value = quality(params, rng)
        outcome = Outcome.DIVERGED if number < failed else Outcome.COMPLETED
        told.append(Told(params, (value,) * 6, outcome, "scripted" if number < failed else None))
    return Sweep.at(write(folder, told, of=experiment(space=SPACE)))


def by_rate(params: Mapping[str, Any], rng: np.random.Generator) -> float:
    return 0.5 - 0.1 * abs(np.log10(params["learning_rate"]) + 3.5) + 0.005 * rng.normal()


def by_chance(params: Mapping[str, Any], rng: np.random.Generator) -> float:
    return 0.5 + 0.05 * rng.normal()


@pytest.fixture(scope="module")
def rated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Sweep, Importances]:
    sweep = sweep_of(tmp_path_factory.mktemp("storage") / "rated", by_rate, failed=3)
    return sweep, importances(sweep)


def test_the_setting_that_decides_comes_first(rated: tuple[Sweep, Importances]) -> None:
    _, found = rated
    first = found.settings[0]
    assert first.setting == "learning_rate"
    assert first.share > 0.5
    assert [one.setting for one in found.settings if one.significant] == ["learning_rate"]
    assert sum(one.share for one in found.settings) == pytest.approx(1)
    assert (found.trials, found.best, found.left_out, found.epoch) == (57, 6, 3, 6.0)


def test_settings_under_conditions_are_one_each_and_count_their_trials(
    rated: tuple[Sweep, Importances],
) -> None:
    sweep, found = rated
    trials = {one.setting: one.trials for one in found.settings}
    lora = sum(trial.adapter == "lora" and trial.comparable for trial in sweep.trials)
    assert trials == {
        "adapter": 57, "freezing": 57, "learning_rate": 57, "weight_decay": 57, "lora.rank": lora
    }  # fmt: skip


def test_the_table_is_marked_observational(rated: tuple[Sweep, Importances]) -> None:
    _, found = rated
    table = importance_table(found)
    assert "observational" in table.title
    assert "the best 6 of 57 trials" in table.caption
    assert "Excluded: 3 trials without a value at that epoch" in table.caption
    assert table.rows[0][0] == "learning_rate"
    assert table.rows[0][-1] == "yes"
    # The largest first; equal shares by name, so that the order is always the same.
    assert list(found.settings) == sorted(found.settings, key=lambda one: (-one.share, one.setting))


def test_of_many_trials_some_are_used_at_the_epoch_that_all_reached(
    rated: tuple[Sweep, Importances], monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep, _ = rated
    short = replace(sweep.trials[-2], reports=sweep.trials[-2].reports[:2], ran=2.0)
    sweep = replace(sweep, trials=(*sweep.trials[:-2], short, sweep.trials[-1]))
    monkeypatch.setattr("analysis.statistics.importance.MAX_TRIALS", 20)
    found = importances(sweep)
    assert (found.trials, found.among, found.left_out, found.epoch) == (20, 57, 3, 2.0)
    assert "20 of 57 trials, evenly sampled" in importance_table(found).caption
    assert all(pair.trials <= 20 for pair in interactions(sweep))


def test_where_nothing_matters_nothing_is_significant(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path / "noise", by_chance)
    assert not any(one.significant for one in importances(sweep).settings)
    assert not any(pair.significant for pair in interactions(sweep))


def test_two_settings_that_interact_are_found(tmp_path: Path) -> None:
    def together(params: Mapping[str, Any], rng: np.random.Generator) -> float:
        agree = (params["adapter"] == "lora") == (params["learning_rate"] > 10**-2.5)
        return 0.5 + 0.1 * agree + 0.02 * rng.normal()

    first, *others = interactions(sweep_of(tmp_path / "together", together, trials=80))
    assert (first.first, first.second) == ("adapter", "learning_rate")
    assert first.significant
    assert first.gain > 0.3
    assert not any(pair.significant for pair in others if "learning_rate" not in (pair.first, pair.second))


def test_too_few_trials_equal_values_and_no_trial_are_errors(tmp_path: Path) -> None:
    with pytest.raises(
        NothingToRankError, match="9 trials with a value at epoch 6; importance needs at least 10"
    ):
        importances(sweep_of(tmp_path / "few", by_rate, trials=9))
    with pytest.raises(NothingToRankError, match="all 12 trials have the same dice"):
        importances(sweep_of(tmp_path / "same", lambda params, rng: 0.5, trials=12))
    running = write(tmp_path / "none", [Told(LORA | {"learning_rate": 0.002, "lora.rank": 4}, (), None)])
    with pytest.raises(NothingToRankError, match="no trial has ended yet"):
        importances(Sweep.at(running))


def test_an_unknown_metric_names_those_there_are(rated: tuple[Sweep, Importances]) -> None:
    with pytest.raises(QueryError, match="recorded are dice"):
        importances(rated[0], metric="map")
