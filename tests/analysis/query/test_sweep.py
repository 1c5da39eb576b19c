from __future__ import annotations

from pathlib import Path

import pytest
from recorded import LORA, Told, write

from analysis.query.sweep import QueryError, Sweep, names_in_words
from tuning.ledger.outcomes import Outcome


def test_config_is_complete_with_defaults_and_the_chosen_section_only(sweep: Sweep) -> None:
    config = sweep.trials[0].config
    assert config["lora.rank"] == 8
    assert config["lora.alpha"] == 16.0
    assert config["optimizer"] == "adamw"
    assert not any(name.startswith(("adalora", "serial_lora")) for name in config)


def test_an_unknown_metric_names_those_recorded(sweep: Sweep) -> None:
    with pytest.raises(QueryError, match="dice, loss; by class, as dice/CLASS: 7"):
        sweep.objective_for("map")


def test_a_standing_follows_rule_and_budget(sweep: Sweep) -> None:
    trial = sweep.trials[0]
    best = trial.standing(sweep.objective)
    assert best is not None
    assert (best.value, best.epoch) == (0.75, 5.0)
    early = trial.standing(sweep.objective, at=2)
    assert early is not None
    assert (early.value, early.epoch) == (0.5, 2.0)
    assert sweep.trials[5].standing(sweep.objective, at=2) is None


def test_a_running_trial_has_an_outcome_of_its_own(tmp_path: Path) -> None:
    record = write(
        tmp_path / "live", (Told(LORA, (0.2,), None), Told(LORA, (), Outcome.FAILED, "why")), closed=None
    )
    trials = Sweep.at(record).trials
    assert [t.outcome for t in trials] == ["running", "failed"]
    assert trials[1].reason == "why"


def test_hundreds_of_names_of_metrics_are_put_in_words() -> None:
    names = [f"map_50/c{n}{at}" for n in range(30) for at in ("", "@noisy")]
    said = names_in_words(["map", "loss", "map@noisy", *names])
    assert said.startswith("loss, map; by class, as map_50/CLASS: c0, c1, c10")
    assert said.endswith("and 10 more; in domains, as map_50@DOMAIN: noisy")
    at_sign = ["dice", "dice/a@b", "dice/c@noisy"]
    assert names_in_words(at_sign, ()) == "dice; by class, as dice/CLASS: a@b, c@noisy"
    assert names_in_words(at_sign, ["noisy"]).endswith(
        "as dice/CLASS: a@b, c; in domains, as dice@DOMAIN: noisy"
    )
    assert names_in_words([]) == "none yet"
    assert names_in_words(["dice", "loss"]) == "dice, loss"
