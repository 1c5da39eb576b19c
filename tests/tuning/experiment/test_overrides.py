from __future__ import annotations

from pathlib import Path

import pytest

from trainables.specs.adapters import Adapter
from trainables.specs.data import Domain
from tuning.experiment.load import load_experiment


def test_overrides_reach_every_part(file: Path) -> None:
    experiment = load_experiment(
        file,
        [
            "name=other",
            "trial.epochs=3",
            "trial.lora.alpha=32",
            "space.lora.rank.choice=[2, 3]",
            "space.weight_decay={choice: [0, 1e-2]}",
            "space.freezing[1].choice=[frozen]",
            "space.unfreeze_epoch=null",
            "scheduler=none",
            "search.first=[]",
            "data.embedded.domain=textured",
        ],
    )
    assert experiment.name == "other"
    assert experiment.max_epochs == 3
    assert experiment.trial["lora"] == {"alpha": 32}
    assert experiment.space.root["lora.rank"][0].choice == (2, 3)
    assert experiment.space.root["weight_decay"][0].choice == (0, 1e-2)
    assert experiment.space.root["freezing"][1].choice == ("frozen",)
    assert "unfreeze_epoch" not in experiment.space.root
    assert experiment.scheduler.median is None
    assert experiment.search.first == ()
    assert experiment.data.embedded is not None
    assert experiment.data.embedded.domain is Domain.TEXTURED


def test_fixing_a_searched_setting_takes_it_out_of_the_space_with_all_that_hangs_on_it(file: Path) -> None:
    experiment = load_experiment(file, ["trial.adapter=lora", "search.first=[]"])
    assert experiment.space.names == ("freezing", "unfreeze_epoch", "lora.rank", "weight_decay")
    assert len(experiment.space.root["freezing"]) == 1
    assert experiment.trial_config({"freezing": "frozen", "lora.rank": 8}).adapter is Adapter.LORA


def test_narrowing_a_choice_drops_what_hangs_on_the_values_taken_away(file: Path) -> None:
    experiment = load_experiment(file, ["space.adapter.choice=[none]", "search.first=[]"])
    assert experiment.space.names == ("adapter", "freezing", "weight_decay")


def test_searching_a_fixed_setting_takes_it_out_of_trial(file: Path) -> None:
    experiment = load_experiment(file, ["space.lora.alpha.choice=[8, 16]", "search.first=[]"])
    assert experiment.trial.get("lora") in (None, {})
    assert "lora.alpha" in experiment.space.root


def test_an_override_keeps_those_first_configurations_that_still_lie_in_the_space() -> None:
    whole = load_experiment("quickstart").search.first
    fixed = load_experiment("quickstart", ["trial.adapter=lora"]).search.first
    assert [{"adapter": "lora", **params} for params in fixed] == [p for p in whole if p["adapter"] == "lora"]
    narrow = load_experiment("quickstart", ["space.adapter.choice=[none, loha]"]).search.first
    assert list(narrow) == [p for p in whole if p["adapter"] in ("none", "loha")]
    assert load_experiment("quickstart", ["trial.epochs=3"]).search.first == whole
    assert load_experiment("quickstart", ["space={lora.rank: {choice: [2, 4]}}"]).search.first == ()


@pytest.mark.parametrize(
    ("override", "left"),
    [
        ("trial.epochs=3", ("freezing",)),
        ("space.freezing=null", ()),
        ("space={lora.rank: {choice: [2, 4]}}", ()),
        ("space.adapter.choice=[lora, loha]", ("freezing",)),
    ],
)
def test_an_override_that_fixes_a_setting_leaves_no_groups_by_it(
    override: str, left: tuple[str, ...]
) -> None:
    asha = load_experiment("quickstart", [override]).scheduler.asha
    assert asha is not None
    assert asha.within == left
    assert asha.rest
