"""The experiment that retunes each level of a design, and the values that it chooses."""

from __future__ import annotations

from pathlib import Path

import pytest
from ablations import spec_of
from recorded import Told, write

from analysis.ablation.design import (
    AblationError,
    Base,
    levels_over,
)
from analysis.ablation.experiment import (
    comparison_experiment,
    retuning_experiment,
    spread_points,
    with_retuned_values,
)
from analysis.ablation.studies import families_of
from analysis.query.sweep import Sweep
from tuning.experiment.alternative import Alternative
from tuning.experiment.sections.ablation import AblationStage
from tuning.experiment.sections.scoring import Scored
from tuning.ledger.outcomes import Outcome


def test_each_level_is_retuned_at_the_same_values_under_the_bases_own_seed(base: Base) -> None:
    spec = spec_of(base, "lora.rank", levels_over("lora.rank", [4, 8]))
    asked = retuning_experiment(base, spec, "x-retune", ["learning_rate"], 4)
    by_level = {
        rank: [p["learning_rate"] for p in asked.search.first if p["lora.rank"] == rank] for rank in (4, 8)
    }
    assert by_level[4] == by_level[8]
    assert len(set(map(str, by_level[4]))) == 4
    assert 0.005 in by_level[4]
    assert asked.search.trials == len(asked.search.first) == 8
    assert all(asked.trial_config(p).seed == base.config.seed for p in asked.search.first)
    assert asked.scoring.trials is Scored.NONE
    assert asked.ablation is not None
    assert asked.ablation.stage is AblationStage.RETUNE


def test_a_setting_is_retuned_only_at_levels_that_have_it(sweep: Sweep, base: Base) -> None:
    levels = families_of(levels_over("adapter", ["none", "lora", "loha"]), base, sweep)
    spec = spec_of(base, "adapter", levels)
    asked = retuning_experiment(base, spec, "x", ["learning_rate", "lora.alpha"], 4)
    for params in asked.search.first:
        assert ("lora.alpha" in params) == (params["adapter"] == "lora")
        asked.trial_config(params)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("lora.rank", "the levels differ in this setting"),
        ("seed", "the levels differ in this setting"),
        ("lr", "unknown key"),
        ("optimizer", "was not searched in digits"),
    ],
)
def test_what_cannot_be_retuned(base: Base, name: str, said: str) -> None:
    with pytest.raises(AblationError, match=said):
        retuning_experiment(
            base, spec_of(base, "lora.rank", levels_over("lora.rank", [4, 8])), "x", [name], 4
        )


def test_each_level_takes_the_value_that_was_best_for_it(base: Base, tmp_path: Path) -> None:
    spec = spec_of(base, "lora.rank", levels_over("lora.rank", [4, 8]))
    asked = retuning_experiment(base, spec, "x", ["learning_rate"], 3)
    rates = sorted({float(str(p["learning_rate"])) for p in asked.search.first})
    best = {4: rates[0], 8: rates[2]}
    told = [
        Told(p, (0.9 if p["learning_rate"] == best[int(str(p["lora.rank"]))] else 0.4,))
        for p in asked.search.first
    ]
    tuned = Sweep.at(write(tmp_path / "x", told, of=asked))
    found = with_retuned_values(tuned, spec, ["learning_rate"])
    assert [level.retuned for level in found.levels] == [
        {"learning_rate": best[4]},
        {"learning_rate": best[8]},
    ]
    grid = list(comparison_experiment(base, found, "y").space.grid())
    assert {(p["lora.rank"], p["learning_rate"]) for p in grid} == {(4, best[4]), (8, best[8])}
    lost = [Told(t.params, (0.1,), Outcome.DIVERGED) if t.params["lora.rank"] == 4 else t for t in told]
    with pytest.raises(AblationError, match="no trial of level 4 has a value"):
        with_retuned_values(Sweep.at(write(tmp_path / "z", lost, of=asked)), spec, ["learning_rate"])


def test_draws_are_spread_in_the_logarithm_and_hold_the_bases_own_value() -> None:
    rate = Alternative.model_validate({"float": (1e-4, 1e-2), "log": True})
    values = [point["r"] for point in spread_points({"r": rate}, 4, {"r": 2e-3})]
    assert values == [0.0001778, 0.0005623, 2e-3, 0.005623]
    choice = Alternative.model_validate({"choice": ("a", "b")})
    assert [p["c"] for p in spread_points({"c": choice}, 5, {"c": "b"})] == ["a", "b"]
    both = spread_points({"r": rate, "c": choice}, 8, {"r": 1e-3, "c": "a"})
    assert {"r": 1e-3, "c": "a"} in both
    assert len({point["r"] for point in both}) == 8
    assert spread_points({"r": rate}, 3, {"r": 1.0}) == spread_points(
        {"r": rate}, 3, {}
    )  # outside of the range
