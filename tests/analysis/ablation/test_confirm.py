"""The best trials of a search, repeated over new seeds: the design, its space, and the result."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ablations import sweep_in
from recorded import LORA, TRIALS, Told, experiment, write

from analysis.ablation.answers import result_json
from analysis.ablation.confirm import confirm_experiment, levels_as_space, new_seeds, plan_confirm
from analysis.ablation.confirmed import confirmation_of, confirmed, confirmed_json, confirmed_table
from analysis.ablation.design import AblationError, level_of
from analysis.ablation.result import result_of, seed_sentences
from analysis.query.sweep import Sweep
from tuning.experiment.load import experiment_of_text
from tuning.experiment.sections.ablation import AblationLevel, AblationStage
from tuning.experiment.sections.scoring import Scored
from tuning.experiment.space import Space, config_hash
from tuning.experiment.spec import Experiment
from tuning.experiment.write import experiment_yaml
from tuning.ledger.ledger import LEDGER
from tuning.ledger.outcomes import Outcome
from tuning.ledger.records import ScoredRecord


def confirming(sweep: Sweep, trials: int = 3, seeds: int = 3) -> Experiment:
    return confirm_experiment(plan_confirm(sweep, trials=trials, seeds=seeds))


def test_the_best_trials_are_the_levels_and_their_values_are_kept(sweep: Sweep) -> None:
    plan = plan_confirm(sweep, trials=3, seeds=5)
    assert [level.name for level in plan.spec.levels] == ["trial 0", "trial 4", "trial 2"]
    assert [level.value for level in plan.spec.levels][:1] == [0.75]
    assert plan.spec.stage is AblationStage.CONFIRM
    assert (plan.spec.trial, plan.spec.reference, plan.name) == (0, "trial 0", "digits-confirm")
    assert plan.runs == 15
    assert plan.seconds is not None


def test_the_experiment_runs_each_trial_with_each_seed_and_scores_all(sweep: Sweep) -> None:
    plan = plan_confirm(sweep, trials=3, seeds=2)
    found = confirm_experiment(plan)
    runs = list(found.space.grid())
    assert len(runs) == 6
    wanted = [level.settings for level in plan.spec.levels]
    for params in runs:
        level = level_of(plan.spec, params)
        assert level is not None
        assert {name: v for name, v in params.items() if name != "seed"} == level.settings
        config = found.trial_config(params)
        own = sweep.experiment.trial_config(level.settings)
        assert config == own.model_copy(update={"seed": params["seed"]})
    assert [level_of(plan.spec, p).settings for p in runs[:3]] == wanted  # type: ignore[union-attr]
    assert found.scheduler.asha is None
    assert found.scoring.trials is Scored.EACH
    assert found.search.algorithm == "grid"
    assert Experiment.model_validate_json(found.model_dump_json()) == found


def test_seeds_are_none_that_the_search_had(tmp_path: Path) -> None:
    space = {"adapter": {"choice": ["lora"]}, "seed": {"int": [0, 9]}, "lora.rank": {"choice": [4, 8]}}
    told = [
        Told({"adapter": "lora", "seed": seed, "lora.rank": rank}, (0.1, value))
        for seed, rank, value in ((0, 4, 0.5), (3, 4, 0.7), (5, 8, 0.6))
    ]
    sweep = Sweep.at(write(tmp_path / "seeded", told, of=experiment("seeded", epochs=2, space=space)))
    assert new_seeds(sweep, 3) == (6, 7, 8)
    plan = plan_confirm(sweep, trials=3, seeds=3)
    assert [level.name for level in plan.spec.levels] == ["trial 1", "trial 2"], "4 and 8, each once"
    assert plan.spec.notes == ("seeded has 2 finished trials, so 3 cannot be repeated",)
    assert len(list(confirm_experiment(plan).space.grid())) == 6


def test_one_that_has_begun_keeps_its_trials(tmp_path: Path, sweep: Sweep) -> None:
    begun = plan_confirm(sweep, trials=2, seeds=3).spec
    better = Told(LORA | {"learning_rate": 0.004, "lora.rank": 16}, (0.3, 0.5, 0.6, 0.7, 0.8, 0.9))
    grown = Sweep.at(write(tmp_path / "digits", (*TRIALS, better), of=experiment()))
    assert plan_confirm(grown, trials=2, seeds=3).spec != begun
    assert plan_confirm(grown, trials=2, seeds=3, begun=begun).spec == begun


def test_patience_is_left_out_and_said(tmp_path: Path) -> None:
    sweep = sweep_in(tmp_path / "patient", trial={"epochs": 6, "early_stopping": {"patience": 2}})
    plan = plan_confirm(sweep, trials=2, seeds=2)
    assert "early_stopping is left out" in plan.spec.notes[-1]
    assert "early_stopping" not in confirm_experiment(plan).trial


def test_what_cannot_be_repeated_is_an_error(tmp_path: Path, sweep: Sweep) -> None:
    running = Sweep.at(write(tmp_path / "new", [Told(LORA, (0.1,), None)], of=experiment("new"), closed=None))
    with pytest.raises(AblationError, match="new has no finished trial to repeat"):
        plan_confirm(running, trials=3, seeds=5)
    folder = ran(tmp_path, sweep, {})
    with pytest.raises(AblationError, match="digits-confirm is a designed experiment"):
        plan_confirm(Sweep.at(folder), trials=3, seeds=5)


FOLDED = {
    "data": {
        "masks": {"train": {"images": "a", "masks": "b"}, "classes": ["x", "y"]},
        "splits": {"train": 0.6, "validation": 0.2, "test": 0.2},
    }
}


def over_folds(tmp_path: Path, name: str = "digits") -> Sweep:
    return Sweep.at(write(tmp_path / name, TRIALS, of=experiment(name, **FOLDED)))


def test_over_folds_each_trial_is_judged_on_each_fold_once(tmp_path: Path) -> None:
    plan = plan_confirm(over_folds(tmp_path), trials=2, folds=3)
    assert (plan.spec.folds, plan.spec.seeds, plan.runs) == (3, (1, 2, 3), 6)
    assert (plan.spec.unit, plan.spec.overlap) == ("fold", 0.5)
    asked = confirm_experiment(plan)
    assert Experiment.model_validate_json(asked.model_dump_json()) == asked
    assert asked.data.splits.folds == 3
    assert asked.data.splits.test == 0.2
    assert asked.workload.each_fold
    assert asked.scoring.trials is Scored.NONE
    runs = list(asked.space.grid())
    assert sorted((p["fold"], p["seed"]) for p in runs) == [(n, n + 1) for n in range(3) for _ in range(2)]  # type: ignore[type-var]
    assert all(level_of(plan.spec, params) in plan.spec.levels for params in runs)
    told = []
    for params in runs:
        level = level_of(plan.spec, params)
        assert level is not None
        value = {"trial 0": (0.6, 0.7, 0.8), "trial 4": (0.5, 0.61, 0.69)}[level.name][params["fold"]]  # type: ignore[index]
        told.append(Told(params, (0.9, value)))
    found = confirmed(result_of(Sweep.at(write(tmp_path / asked.name, told, of=asked))))
    (difference,) = found.result.comparison.differences
    assert difference.n == 3
    assert difference.mean == pytest.approx(-0.1), "of the last reports"
    assert found.result.floor is None
    assert "over 3 folds, validation dice" in found.answer
    table = confirmed_table(found)
    assert "Nadeau and Bengio" in table.caption
    assert {row[table.columns.index("optimism")] for row in table.rows} == {"–"}
    assert confirmed_json(found)["optimism"] == {"trial 0": None, "trial 4": None}
    assert "last report" in seed_sentences(found.result)[-1]


def test_data_with_validation_images_of_their_own_have_no_folds(sweep: Sweep) -> None:
    with pytest.raises(AblationError, match="validation images of their own; repeat over --seeds"):
        plan_confirm(sweep, trials=2, folds=3)


# --- the space --------------------------------------------------------------------------------

TREE = {
    "adapter": {"choice": ["none", "lora", "loha"]},
    "freezing": [
        {"choice": ["head_only", "full"], "when": {"adapter": "none"}},
        {"choice": ["frozen", "unfrozen", "unfreeze_at"], "when": {"adapter": ["lora", "loha"]}},
    ],
    "unfreeze_epoch": {"choice": [1, 2], "when": {"freezing": "unfreeze_at"}},
    "learning_rate": {"float": [1e-4, 1e-1], "log": True},
    "lora.rank": {"choice": [4, 8]},
    "loha.rank": {"choice": [4, 8]},
    "targets": {"choice": [["query"], ["query", "value"]], "when": {"adapter": ["lora", "loha"]}},
}


@pytest.mark.parametrize("seed", range(30))
def test_any_trials_of_a_space_give_a_space_of_exactly_these(seed: int) -> None:
    import random

    rng = random.Random(seed)
    space = Space.parse(TREE)
    drawn: dict[str, dict[str, Any]] = {}
    for _ in range(rng.randint(1, 6)):
        params = space.sample(rng)
        if rng.random() < 0.7:  # a single rate, so that no setting alone tells all apart
            params["learning_rate"] = 0.01
        drawn[config_hash(params)] = params
    levels = [AblationLevel(name=key, settings=params) for key, params in drawn.items()]
    written = levels_as_space(levels, space.order)
    text = json.dumps(
        {"name": "a", "task": "segmentation", "objective": {"metric": "dice"}, "space": written,
         "search": {"grid": {}}, "trial": {"epochs": 3}}
    )  # fmt: skip
    found = list(experiment_of_text(text, "a").space.grid())
    assert {config_hash(params) for params in found} == set(drawn)
    assert len(found) == len(drawn)


# --- the result -------------------------------------------------------------------------------

CLEAR = {0: (0.60, 0.62, 0.61), 4: (0.50, 0.53, 0.51), 2: (0.40, 0.41, 0.40)}
CLOSE = {0: (0.60, 0.62, 0.61), 4: (0.61, 0.61, 0.62), 2: (0.40, 0.41, 0.40)}


def ran(
    storage: Path,
    sweep: Sweep,
    test: Mapping[int, tuple[float, ...]],
    trainable: Mapping[int, int] | None = None,
) -> Path:
    """The experiment of `confirm` as if it had run, with test values by trial; validation is 0.1 above."""
    plan = plan_confirm(sweep, trials=3, seeds=3)
    asked = confirm_experiment(plan)
    told, scores = [], []
    for number, params in enumerate(asked.space.grid()):
        level = level_of(plan.spec, params)
        assert level is not None
        trial, place = int(level.name.removeprefix("trial ")), plan.spec.seeds.index(params["seed"])  # type: ignore[arg-type]
        if trial not in test:
            told.append(Told(params, (0.1,), Outcome.DIVERGED))
            continue
        value = test[trial][place]
        count = {"adapter": (trainable or {}).get(trial, 100), "head": 0, "backbone": 0, "total": 1_000_000}
        told.append(Told(params, tuple(value + 0.1 for _ in range(6)), parameters=count))
        scores.append(ScoredRecord(trial=number, epoch=1.0, metrics={"dice": value}))
    return write(storage / asked.name, told, of=asked, scores=scores)


def test_a_winner_is_named_with_its_differences(tmp_path: Path, sweep: Sweep) -> None:
    found = confirmed(result_of(Sweep.at(ran(tmp_path, sweep, CLEAR))))
    assert (found.trial, found.choice is not None and found.choice.won) == (0, True)
    assert found.answer.startswith("trial 0 is better than trial 4 (mean difference +0.097, 95 % CI +0.")
    assert "and than trial 2 (" in found.answer
    assert found.answer.endswith("over 3 seeds, test dice")
    assert len(found.result.comparison.differences) == 3, "all pairs"


def test_of_two_that_are_not_told_apart_the_cheaper_is_taken(tmp_path: Path, sweep: Sweep) -> None:
    found = confirmed(result_of(Sweep.at(ran(tmp_path, sweep, CLOSE, {0: 500, 4: 300, 2: 900}))))
    assert found.trial == 4
    assert "trial 4 and trial 0 are not told apart, over 3 seeds, test dice" in found.answer
    assert "trial 4 is the cheaper, with 300 trainable parameters against 500" in found.answer
    assert "something is better than trial 2" in found.answer


def test_at_equal_cost_the_better_mean_is_taken(tmp_path: Path, sweep: Sweep) -> None:
    found = confirmed(result_of(Sweep.at(ran(tmp_path, sweep, CLOSE))))
    assert found.trial == 4
    assert "trial 4 has the better mean at the same number of trainable parameters" in found.answer


def test_the_table_shows_how_lucky_the_search_was(tmp_path: Path, sweep: Sweep) -> None:
    found = confirmed(result_of(Sweep.at(ran(tmp_path, sweep, CLEAR))))
    table = confirmed_table(found)
    first = dict(zip(table.columns, table.rows[0], strict=True))
    assert first["trial"] == "trial 0 (take this one)"
    assert first["validation, search"] == "0.7500"
    assert first["repeats"] == "0.710"
    assert first["optimism"] == "+0.040"
    assert "winner's curse" in table.caption


def test_for_programs(tmp_path: Path, sweep: Sweep) -> None:
    folder = ran(tmp_path, sweep, CLEAR)
    result = result_of(Sweep.at(folder))
    found = json.loads(json.dumps(confirmed_json(confirmed(result))))
    assert (found["trial"], found["won"], found["not_told_apart"]) == (0, True, [])
    assert found["optimism"]["trial 0"] == pytest.approx(0.04)
    assert result_json(result, folder)["over_images"] == {}
    assert any("trial 4 is worse than trial 0" in sentence for sentence in seed_sentences(result))


def test_runs_without_a_result_leave_nothing_to_take(tmp_path: Path, sweep: Sweep) -> None:
    found = confirmed(result_of(Sweep.at(ran(tmp_path, sweep, {}))))
    assert found.trial is None
    assert found.answer == "no run has a result yet, so nothing is confirmed"


def test_the_confirmation_of_a_sweep_is_found_by_its_name(tmp_path: Path, sweep: Sweep) -> None:
    assert confirmation_of(tmp_path / "digits") is None
    folder = ran(tmp_path, sweep, CLEAR)
    found = confirmation_of(tmp_path / "digits")
    assert found is not None
    assert found.trial == 0
    (folder / LEDGER).write_text("{")
    assert confirmation_of(tmp_path / "digits") is None


def test_a_level_is_written_as_a_file_of_its_own(sweep: Sweep) -> None:
    found = confirming(sweep)
    first = next(iter(found.space.grid()))
    assert "space" not in experiment_yaml(found, first)
