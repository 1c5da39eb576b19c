"""Designs: from the best finished trial to an experiment of every level with every seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ablations import ranks, spec_of, sweep_in
from recorded import LORA, TRIALS, Told, experiment, write

from analysis.ablation.design import (
    AblationError,
    Base,
    Plan,
    choose_base,
    level_of,
    levels_over,
    reference_of,
    seeds_of,
    warnings_of,
    with_scale,
)
from analysis.ablation.experiment import comparison_experiment, retuning_experiment
from analysis.ablation.studies import at_equal_parameters, config_of, describe_level, families_of, levels_of
from analysis.ablation.study_names import StudyName
from analysis.query.sweep import Sweep
from trainables.errors import AdapterError
from trainables.specs.adapters import Adapter, Freezing
from trainables.specs.trial import TrialConfig
from tuning.experiment.load import load_experiment
from tuning.experiment.sections.scoring import Scored
from tuning.ledger.ledger import read_history
from tuning.ledger.outcomes import Outcome
from tuning.tables.rows import flat_config

# --- the base ---------------------------------------------------------------------------------


def test_the_base_is_the_best_trial_that_ran_to_its_own_end(base: Base) -> None:
    assert (base.trial, base.value, base.seconds) == (0, 0.75, 54.0)
    assert base.settings == {
        "epochs": 6, "batch_size": 16, "adapter": "lora", "freezing": "frozen",
        "learning_rate": 0.005, "lora.rank": 8,
    }  # fmt: skip


def test_a_setting_of_another_adapter_starts_from_the_best_trial_that_has_it(sweep: Sweep) -> None:
    assert choose_base(sweep, having="serial_lora.rank").trial == 4
    assert choose_base(sweep, having="weight_decay").trial == 0
    assert choose_base(sweep, 2).config.adapter is Adapter.NONE


@pytest.mark.parametrize(
    ("number", "having", "said"),
    [
        (None, "loha.rank", "no finished trial of digits has adapter loha"),
        (2, "adapter", "trial 2 of digits has adapter none, but an adapter is needed"),
        (9, None, "digits has no trial 9; it has 7 trials, numbered from 0"),
    ],
)
def test_a_base_that_is_not_there_says_what_is(
    sweep: Sweep, number: int | None, having: str | None, said: str
) -> None:
    with pytest.raises(AblationError, match=said):
        choose_base(sweep, number, having=having)


def test_without_a_finished_trial_there_is_no_base(tmp_path: Path) -> None:
    folder = write(tmp_path / "young", (Told(LORA, (0.2, 0.5), Outcome.PRUNED),))
    with pytest.raises(AblationError, match="young has no finished trial to start from"):
        choose_base(Sweep.at(folder))


# --- levels -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("lora.rnk", [4], "unknown key; did you mean 'rank'"),
        ("lora", [4], "is a section; vary one of lora.alpha"),
        ("seed", [1], "use --seeds"),
        ("lora.rank", [], "needs --levels, such as"),
        ("lora.rank", [4, "x"], "--levels x: lora.rank must be a whole number"),
        ("lora.rank", [0], "--levels 0: lora.rank must be at least 1"),
        ("lora.rank", [4, 8, 4], "names 4 twice"),
    ],
)
def test_levels_that_cannot_be(name: str, values: list[Any], said: str) -> None:
    with pytest.raises(AblationError, match=said):
        levels_over(name, values)


def test_the_reference_is_the_level_of_the_base_or_the_first(base: Base) -> None:
    assert reference_of(levels_over("lora.rank", [4, 8]), base, None) == "8"
    assert reference_of(levels_over("weight_decay", [0.0, 0.01]), base, None) == "0.01"  # its default
    assert reference_of(levels_over("targets", [["mlp"], ["query", "value"]]), base, None) == "query+value"
    assert reference_of(levels_over("lora.rank", [2, 4]), base, None) == "2"
    assert reference_of(levels_over("lora.rank", [2, 4]), base, "4") == "4"
    with pytest.raises(AblationError, match="--reference 9: is not a level; the levels are 2, 4"):
        reference_of(levels_over("lora.rank", [2, 4]), base, "9")


def test_alpha_moves_with_the_rank_where_the_scale_is_kept(base: Base) -> None:
    levels = with_scale(base, "lora.rank", levels_over("lora.rank", [4, 16]))
    assert [level.settings for level in levels] == [
        {"lora.rank": 4, "lora.alpha": 8.0},
        {"lora.rank": 16, "lora.alpha": 32.0},
    ]
    with pytest.raises(AblationError, match="not to weight_decay"):
        with_scale(base, "weight_decay", levels_over("weight_decay", [0.0]))


# --- the experiment ---------------------------------------------------------------------------


def test_every_level_meets_every_seed_once_and_all_else_is_the_base(base: Base) -> None:
    asked = ranks(base, 4, 8, 16, seeds=2)
    grid = list(asked.space.grid())
    assert [(p["seed"], p["lora.rank"]) for p in grid] == [(s, r) for s in (1, 2) for r in (4, 8, 16)]
    assert asked.scheduler.asha is None
    assert asked.scheduler.median is None
    assert asked.scoring.trials is Scored.EACH
    for params in grid:
        config = asked.trial_config(params)
        assert (config.learning_rate, config.batch_size, config.epochs) == (0.005, 16, 6)
        assert config.section.rank == params["lora.rank"]


def test_the_seed_that_the_base_was_picked_under_is_none_of_those_compared(base: Base) -> None:
    assert base.config.seed == 0
    assert seeds_of(base, 3) == (1, 2, 3)


def test_the_experiment_is_a_file_that_reads_back_the_same(sweep: Sweep, base: Base, tmp_path: Path) -> None:
    levels = levels_of(StudyName.FREEZING, base, sweep, None)
    asked = comparison_experiment(base, spec_of(base, "freezing", levels), "f")
    (tmp_path / "f.yaml").write_text(asked.source_text)
    assert load_experiment(tmp_path / "f.yaml") == asked


@pytest.mark.parametrize("study", list(StudyName))
def test_predefined_studies_make_valid_experiments_and_each_trial_has_a_level(
    sweep: Sweep, base: Base, study: StudyName
) -> None:
    levels = levels_of(study, base, sweep, None)
    spec = spec_of(base, str(study), levels, seeds=2)
    asked = comparison_experiment(base, spec, "x")
    grid = list(asked.space.grid())
    assert len(grid) == asked.space.size() == 2 * len(levels)
    for params in grid:
        level = level_of(spec, params)
        assert level is not None
        wanted = flat_config(config_of(level, base)) | {"seed": params["seed"]}
        assert flat_config(asked.trial_config(params)) == wanted


def test_a_base_with_extras_of_its_freezing_mode_gives_them_to_the_modes_that_take_them(
    tmp_path: Path,
) -> None:
    space = {"learning_rate": {"choice": [0.01]}}
    trial = {"epochs": 4, "freezing": "unfreeze_at", "unfreeze_epoch": 1, "frozen_blocks": 2}
    asked = experiment("deep", space=space, trial=trial)
    sweep = Sweep.of(
        read_history(write(tmp_path / "deep", (Told({"learning_rate": 0.01}, (0.5,)),), of=asked))
    )
    base = choose_base(sweep)
    levels = levels_of(StudyName.FREEZING, base, sweep, None)
    made = comparison_experiment(base, spec_of(base, "freezing", levels, seeds=1), "x")
    configs = {c.mode: c for c in map(made.trial_config, made.space.grid())}
    assert set(configs) == set(Freezing)
    assert {mode: c.frozen_blocks for mode, c in configs.items() if c.frozen_blocks} == {
        Freezing.UNFROZEN: 2, Freezing.FULL: 2, Freezing.UNFREEZE_AT: 2
    }  # fmt: skip
    assert configs[Freezing.UNFREEZE_AT].unfreeze_epoch == 1


def test_all_levels_run_the_whole_budget_unless_patience_is_what_is_varied(tmp_path: Path) -> None:
    asked = experiment("patient", trial={"epochs": 6, "early_stopping": {"patience": 2}})
    base = choose_base(Sweep.at(write(tmp_path / "patient", of=asked)))
    made = ranks(base, 4, 8)
    assert all(made.trial_config(p).early_stopping is None for p in made.space.grid())
    spec = spec_of(base, "lora.rank", levels_over("lora.rank", [4, 8]))
    tuned = retuning_experiment(base, spec, "x-retune", ["learning_rate"], 2)
    assert all(tuned.trial_config(p).early_stopping is None for p in tuned.search.first)
    levels = levels_over("early_stopping.patience", [1, 3])
    varied = comparison_experiment(base, spec_of(base, "early_stopping.patience", levels), "y")
    patience = {c.early_stopping.patience for p in varied.space.grid()
                if (c := varied.trial_config(p)).early_stopping is not None}  # fmt: skip
    assert patience == {1, 3}


@pytest.mark.parametrize(
    ("freezing", "modes"),
    [
        ({"freezing": "unfrozen", "frozen_blocks": 1, "freeze_head": True}, ("full", "unfrozen")),
        ({"freezing": "unfreeze_at", "unfreeze_epoch": 1, "frozen_blocks": 1}, ("full", "unfreeze_at")),
    ],
)
def test_levels_of_adapters_keep_the_bases_mode_and_its_extras_where_they_fit(
    tmp_path: Path, freezing: dict[str, Any], modes: tuple[str, str]
) -> None:
    asked = experiment(
        "deep",
        space={"learning_rate": {"choice": [0.01]}},
        trial={"epochs": 4, "adapter": "lora", **freezing},
    )
    told = (Told({"learning_rate": 0.01}, (0.5,)),)
    sweep = Sweep.at(write(tmp_path / "deep", told, of=asked))
    base = choose_base(sweep)
    levels = families_of(levels_over("adapter", ["none", "lora"]), base, sweep)
    made = comparison_experiment(base, spec_of(base, "adapter", levels, seeds=1), "x")
    none, lora = map(made.trial_config, made.space.grid())
    assert (none.mode, lora.mode) == modes
    assert (none.frozen_blocks, lora.frozen_blocks) == (1, 1)
    assert (none.freeze_head, lora.freeze_head) == (False, freezing.get("freeze_head", False))
    assert lora.unfreeze_epoch == freezing.get("unfreeze_epoch")


def test_families_of_an_ablation_under_way_keep_what_they_began_with(tmp_path: Path) -> None:
    begun_at = sweep_in(tmp_path / "digits")
    base = choose_base(begun_at)
    names = levels_over("adapter", ["lora", "serial_lora"])
    spec = spec_of(base, "adapter", families_of(names, base, begun_at))
    better = Told(
        {"adapter": "serial_lora", "freezing": "frozen", "learning_rate": 0.003, "serial_lora.rank": 2},
        (0.745,) * 6,
    )
    space = experiment().space.model_dump(mode="json") | {"serial_lora.rank": {"choice": [2, 4]}}
    later = Sweep.of(
        read_history(write(tmp_path / "later", (*TRIALS, better), of=experiment("later", space=space)))
    )
    assert families_of(names, base, later)[1].settings.get("serial_lora.rank") == 2
    assert families_of(names, base, later, spec) == spec.levels


def test_a_study_leaves_out_default_levels_that_do_not_fit_but_not_requested_ones(
    sweep: Sweep, base: Base
) -> None:
    with pytest.raises(AblationError, match="--levels half: freezing must be one of"):
        levels_of(StudyName.FREEZING, base, sweep, ["half"])
    with pytest.raises(AblationError, match="--study freezing compares it"):
        levels_of(StudyName.ADAPTERS, base, sweep, ["none", "lora"])
    with pytest.raises(AblationError, match="and frozen needs one; start from a trial that has one"):
        levels_of(StudyName.FREEZING, choose_base(sweep, 2), sweep, ["frozen", "full"])
    with pytest.raises(AblationError, match="has no rank"):
        levels_of(StudyName.RANK, choose_base(sweep, 2), sweep, None)


# --- equal parameters -------------------------------------------------------------------------


def _count(config: TrialConfig) -> int:
    """A fictitious model: 100 weights per rank, LoHa twice as many, LoKr never more than 500."""
    if config.adapter is Adapter.NONE:
        return 0
    if config.adapter is Adapter.LOCALIZED_LORA:
        return 100 * config.section.block_rank * config.section.blocks
    rank = config.section.init_rank if config.adapter is Adapter.ADALORA else config.section.rank
    if config.adapter is Adapter.LOKR:
        return min(500, 50 * rank)
    return rank * {Adapter.LOHA: 200, Adapter.ADALORA: 101}.get(config.adapter, 100)


def test_adapters_meet_at_the_rank_that_comes_nearest_and_it_is_said_how_near(
    sweep: Sweep, base: Base
) -> None:
    levels, notes = at_equal_parameters(levels_of(StudyName.ADAPTERS, base, sweep, None), base, _count)
    found = {level.name: level.settings for level in levels}
    assert found["lora"]["lora.rank"] == 8
    assert found["loha"] == {"adapter": "loha", "loha.rank": 4, "loha.alpha": 4.0}  # its scale was 1
    assert found["adalora"]["adalora.init_rank"] == 8
    assert found["adalora"]["adalora.target_rank"] == 5
    assert found["localized_lora"]["localized_lora.block_rank"] == 4
    assert "loha: 800 adapter parameters, +0.0% off 800" in notes
    assert "adalora: 808 adapter parameters, +1.0% off 800" in notes
    assert (
        "lokr: 500 adapter parameters, -37.5% off 800, and no rank comes nearer: not at equal parameters"
        in notes
    )
    made = comparison_experiment(base, spec_of(base, "adapters", levels, seeds=1), "x")
    assert made.space.size() == len(levels)


def test_an_adapter_that_does_not_fit_is_left_out_of_a_predefined_study_and_an_error_otherwise(
    sweep: Sweep, base: Base
) -> None:
    def count(config: TrialConfig) -> int:
        if config.adapter is Adapter.SERIAL_LORA:
            raise AdapterError("targets must be square")
        if config.adapter is Adapter.LOHA and config.section.rank > 3:
            raise AdapterError("rank must not exceed 3")
        return _count(config)

    ready = levels_of(StudyName.ADAPTERS, base, sweep, None)
    levels, notes = at_equal_parameters(ready, base, count, leave_out=True)
    assert "serial_lora" not in [level.name for level in levels]
    assert "serial_lora: left out, targets must be square" in notes
    assert next(level for level in levels if level.name == "loha").settings["loha.rank"] == 3
    with pytest.raises(AblationError, match="level serial_lora: targets must be square"):
        at_equal_parameters(ready, base, count)


def test_equal_parameters_ask_for_an_adapter_and_for_a_free_rank(sweep: Sweep, base: Base) -> None:
    with pytest.raises(AblationError, match="the design varies the rank itself"):
        at_equal_parameters(levels_over("lora.rank", [4, 8]), base, _count)
    with pytest.raises(AblationError, match="no adapter, so there is no number of parameters to match"):
        at_equal_parameters(levels_over("weight_decay", [0.0]), choose_base(sweep, 2), _count)
    with pytest.raises(AblationError, match="adapter none has no rank"):
        at_equal_parameters(families_of(levels_over("adapter", ["none", "lora"]), base, sweep), base, _count)


def test_an_adapter_level_brings_the_settings_and_the_freezing_that_go_with_it(
    sweep: Sweep, base: Base
) -> None:
    levels = families_of(levels_over("adapter", ["none", "lora", "loha"]), base, sweep)
    assert [level.settings.get("freezing") for level in levels] == ["head_only", "frozen", "frozen"]
    assert levels[1].settings["lora.rank"] == 8
    assert describe_level(levels[1]) == "lora.rank=8  freezing=frozen"
    assert comparison_experiment(base, spec_of(base, "adapter", levels), "x").space.size() == 9


# --- the plan ---------------------------------------------------------------------------------


def test_a_plan_gives_its_cost_and_its_confounders(base: Base) -> None:
    levels = levels_over("lora.rank", [4, 8])
    plan = Plan(base, spec_of(base, "lora.rank", levels, seeds=1))
    assert (plan.name, plan.runs, plan.seconds) == ("digits-ablate-lora.rank", 2, 108.0)
    said = "\n".join(warnings_of(plan))
    assert "nothing can be tested" in said
    assert "--retune learning_rate" in said
    assert "--keep-scale" in said
    kept = with_scale(base, "lora.rank", levels)
    tuned = Plan(base, spec_of(base, "lora.rank", kept, seeds=5), ("learning_rate",), 8)
    assert tuned.seconds == 54.0 * (10 + 16)
    assert list(warnings_of(tuned)) == []
    rates = Plan(base, spec_of(base, "learning_rate", levels_over("learning_rate", [0.001, 0.01])))
    assert "all levels train at" not in "\n".join(warnings_of(rates))
    alone = Plan(base, spec_of(base, "lora.rank", levels_over("lora.rank", [8])))
    assert "a single level" in "\n".join(warnings_of(alone))
