"""What every shipped experiment file keeps to."""

from __future__ import annotations

import pytest

from search_spaces.catalog import Shipped, resolve, shipped
from trainables.adapters.specs import Adapter
from tuning.experiment import Experiment, load_experiment

ALL = shipped()


def test_the_named_ones_ship() -> None:
    assert {"quickstart", "coco_folder", "mask_folder"} <= {space.name for space in ALL}
    assert resolve("nothing_of_the_kind") is None
    assert resolve("../search_spaces/quickstart") is None
    assert resolve("") is None


@pytest.fixture(params=ALL, ids=[space.name for space in ALL])
def space(request: pytest.FixtureRequest) -> Shipped:
    found: Shipped = request.param
    return found


def test_it_is_sound_and_named_after_its_file(space: Shipped) -> None:
    experiment = load_experiment(space.name)
    assert experiment.name == space.name
    experiment.require_space()
    assert Experiment.model_validate_json(experiment.model_dump_json()) == experiment


def test_its_header_says_what_it_asks_and_how_to_run_it(space: Shipped) -> None:
    assert space.headline.endswith(("?", ".", ")."))
    assert f"adaptertune launch {space.name}" in space.description


def test_it_compares_every_family_of_adapters(space: Shipped) -> None:
    domain = load_experiment(space.name).space.root["adapter"][0]
    families = {adapter.value for adapter in Adapter} - {"peft"}
    assert families <= set(domain.choice or ())  # type: ignore[arg-type]


@pytest.mark.parametrize("adapter", [a.value for a in Adapter if a is not Adapter.PEFT])
def test_it_can_be_narrowed_to_one_adapter(space: Shipped, adapter: str) -> None:
    for override in (f"trial.adapter={adapter}", f"space.adapter.choice=[{adapter}]"):
        experiment = load_experiment(space.name, [override])
        others = {a.value for a in Adapter} - {adapter}
        assert not [n for n in experiment.space.names if n.split(".")[0] in others]
