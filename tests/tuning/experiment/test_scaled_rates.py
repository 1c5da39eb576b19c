"""Learning rates that a space scales with a setting of the adapter: one place, and all that uses it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from malformed import case, loaded
from recorded import Told, experiment, write

from analysis.ablation.confirm import confirm_experiment, plan_confirm
from analysis.ablation.design import choose_base
from analysis.ablation.experiment import spread_points
from analysis.query.sql import opened
from analysis.query.sweep import Sweep
from analysis.ranking.best_table import best_rows, best_table
from analysis.ranking.objectives_front import front_json, front_table, objectives_front
from analysis.ranking.rank_by_sql import rank_by_sql
from trainables.specs.trial import TrialConfig
from tuning.experiment.additions import check_addition
from tuning.experiment.alternative import Alternative
from tuning.experiment.load import experiment_of_text
from tuning.experiment.scaled_rates import DEFAULTS
from tuning.experiment.write import experiment_yaml
from tuning.ledger.ledger import LEDGER, Ledger, read_history
from tuning.ledger.recorder import Recorder
from tuning.ledger.records import ExperimentRecord, StartedRecord

SPACE: dict[str, Any] = {
    "adapter": {"choice": ["lora", "loha"]},
    "lora.rank": {"choice": [4, 8, 16]},
    "learning_rate": {"float": [1e-4, 1e-1], "log": True, "scale_with": "lora.rank"},
}
HIGH = {"adapter": "lora", "lora.rank": 16, "learning_rate": 0.01}
LOW = {"adapter": "lora", "lora.rank": 4, "learning_rate": 0.004}
LOHA = {"adapter": "loha", "learning_rate": 0.003}
TOLD = (Told(HIGH, (0.1, 0.8)), Told(LOW, (0.1, 0.7)), Told(LOHA, (0.1, 0.6)))


def sweep_in(folder: Path) -> Path:
    return write(folder, TOLD, of=experiment(folder.name, epochs=2, space=SPACE))


def rate(params: dict[str, Any], **parts: Any) -> float:
    return experiment(space=parts.pop("space", SPACE), **parts).trial_config(params).learning_rate


def test_the_rate_is_the_drawn_value_times_default_over_setting() -> None:
    assert DEFAULTS["lora.rank"] == TrialConfig().section.rank == 8
    assert rate(HIGH) == pytest.approx(0.005)
    assert rate(LOW) == pytest.approx(0.008)
    assert rate(HIGH | {"lora.rank": 8}) == 0.01
    assert rate(LOHA) == 0.003, "it has no lora.rank"
    assert rate({"adapter": "none", "freezing": "head_only", "learning_rate": 0.003}) == 0.003


def test_the_setting_may_be_fixed_absent_or_an_alpha_and_either_rate_is_scaled() -> None:
    alpha = {"learning_rate": {"choice": [0.01, 0.02], "scale_with": "lora.alpha"}}
    assert rate({"learning_rate": 0.01}, space=alpha) == 0.01, "at its default, 16"
    assert rate({"learning_rate": 0.01}, space=alpha, trial={"lora": {"alpha": 32.0}}) == 0.005
    head = {"head_learning_rate": {"float": [1e-3, 1e-1], "scale_with": "lora.rank"}}
    config = experiment(space=head, trial={"lora": {"rank": 16}}).trial_config({"head_learning_rate": 0.01})
    assert (config.head_learning_rate, config.learning_rate) == (0.005, 1e-3)


def test_each_alternative_scales_by_itself() -> None:
    space = SPACE | {
        "learning_rate": [
            {"float": [1e-4, 1e-1], "scale_with": "lora.rank", "when": {"adapter": "lora"}},
            {"float": [1e-4, 1e-1], "when": {"adapter": "loha"}},
        ]
    }
    assert rate(HIGH, space=space) == pytest.approx(0.005)
    assert rate(LOHA, space=space) == 0.003


def test_a_recorded_trial_is_trained_copied_exported_and_written_at_its_rate(tmp_path: Path) -> None:
    of = experiment(epochs=2, space=SPACE)
    assert experiment_of_text(experiment_yaml(of, HIGH), "one").trial_config({}).learning_rate == 0.005
    folder = sweep_in(tmp_path / "scaled")
    history = read_history(folder)
    assert [of.trial_config(t.settings).learning_rate for t in history.trials.values()] == [
        0.005,
        0.008,
        0.003,
    ]
    # What a copy is given is drawn, so it trains at the rate of its own rank.
    copied = check_addition(of, history.trials[0].params | {"lora.rank": 4})
    assert of.trial_config(copied).learning_rate == pytest.approx(0.02)


def test_what_is_confirmed_and_ablated_trains_at_the_rate_of_the_trial(tmp_path: Path) -> None:
    sweep = Sweep.at(sweep_in(tmp_path / "scaled"))
    made = confirm_experiment(plan_confirm(sweep, trials=3, seeds=2))
    assert [made.trial_config(params).learning_rate for params in made.space.grid()] == [
        0.005,
        0.008,
        0.003,
    ] * 2
    base = choose_base(sweep)
    assert base.settings["learning_rate"] == base.config.learning_rate == 0.005
    domain = sweep.experiment.space.root["learning_rate"][0].scaled(0.5)
    assert domain == Alternative.model_validate_json('{"float": [5e-5, 0.05], "log": true}')
    assert {"learning_rate": 0.005} in spread_points({"learning_rate": domain}, 4, base.settings)


def test_both_values_are_shown_and_in_the_tables(tmp_path: Path) -> None:
    with opened([sweep_in(tmp_path / "scaled")]) as source:
        rows = source.ask('SELECT trial, learning_rate, "drawn.learning_rate" FROM trials ORDER BY trial')
        assert rows.fetchall() == [(0, 0.005, 0.01), (1, 0.008, 0.004), (2, 0.003, 0.003)]
        ranking = rank_by_sql(source, 3)
        shown = [row[-1] for row in best_table(ranking, 3).rows]
        assert "learning_rate=0.01 (trains at 0.005)" in shown[0]
        assert shown[2].endswith("learning_rate=0.003")
        first = best_rows(ranking, 3)[0]
        assert (first["learning_rate"], first["drawn.learning_rate"]) == (0.005, 0.01)


def test_the_start_of_a_trial_is_recorded_with_its_rate(tmp_path: Path) -> None:
    of = experiment(epochs=2, space=SPACE)
    header = ExperimentRecord(name=of.name, file="", experiment=of.model_dump(mode="json"))
    with Ledger.create(tmp_path / "digits", header) as ledger:
        recorder = Recorder(ledger, read_history(tmp_path / "digits"))
        recorder.record(StartedRecord(trial=0, params=HIGH, hash="a"))
        recorder.record(StartedRecord(trial=1, params=LOHA, hash="b"))
    lines = (tmp_path / "digits" / LEDGER).read_text().splitlines()
    assert '"rates":{"learning_rate":0.005}' in lines[1]
    assert '"learning_rate":0.01' in lines[1]
    assert '"rates":{"learning_rate":0.003}' in lines[2]


def test_an_override_of_the_adapter_leaves_it_without_effect(tmp_path: Path) -> None:
    text = case(space="space: {adapter: {choice: [lora, loha]}, learning_rate: {float: [1e-4, 1e-2], scale_with: lora.rank}}").text  # fmt: skip  # noqa: E501
    of = loaded(tmp_path, text, ("trial.adapter=loha",))
    assert of.trial_config({"learning_rate": 1e-3}).learning_rate == 1e-3


def test_the_front_shows_both_values(tmp_path: Path) -> None:
    goals = {"further": [{"metric": "parameters"}]}
    told = [Told(HIGH, (0.1, 0.8), values={"dice": 0.8, "parameters": 9.0})]
    folder = write(tmp_path / "two", told, of=experiment("two", epochs=2, space=SPACE, **goals))
    front = objectives_front(Sweep.at(folder))
    assert "learning_rate=0.01 (trains at 0.005)" in front_table(front).rows[0][-1]
    assert "rates" in str(front_json(front))
