"""What every shipped experiment file keeps to."""

from __future__ import annotations

import pytest

from search_spaces.catalog import ShippedExperiment, find_shipped, shipped_experiments
from trainables.errors import ExperimentFileError
from trainables.specs.adapters import Adapter
from trainables.specs.trial import Loss, Schedule
from tuning.cli.run.train import sole_config
from tuning.experiment.load import load_experiment
from tuning.experiment.spec import Experiment

ALL = shipped_experiments()
SWEEPS = [space for space in ALL if space.searches]
SINGLE = [space for space in ALL if not space.searches]
COMPARE_ALL = {"quickstart", "coco_folder", "mask_folder"}
STUDIES = {
    "yolos_small_coco": ("lora", "adalora", "loha", "lokr"),
    "vit_base_pets": ("lora", "serial_lora", "localized_lora"),
}


def test_the_named_ones_ship() -> None:
    assert {space.name for space in SWEEPS} >= COMPARE_ALL | STUDIES.keys()
    rows = {f"{study}_{adapter}" for study, adapters in STUDIES.items() for adapter in adapters}
    assert {space.name for space in SINGLE} >= rows
    assert find_shipped("nothing_of_the_kind") is None
    assert find_shipped("../search_spaces/quickstart") is None
    assert find_shipped("") is None


@pytest.fixture(params=ALL, ids=[space.name for space in ALL])
def space(request: pytest.FixtureRequest) -> ShippedExperiment:
    found: ShippedExperiment = request.param
    return found


def test_it_is_valid_and_named_after_its_file(space: ShippedExperiment) -> None:
    experiment = load_experiment(space.name)
    assert experiment.name == space.name
    assert bool(experiment.space) == space.searches
    if space.searches:
        experiment.require_space()
    else:
        sole_config(experiment)
    assert Experiment.model_validate_json(experiment.model_dump_json()) == experiment


def test_its_header_says_what_it_asks_and_how_to_run_it(space: ShippedExperiment) -> None:
    assert space.headline.endswith(("?", ".", ")."))
    command = "launch" if space.searches else "train"
    assert f"adaptertune {command} {space.name}" in space.description


@pytest.mark.parametrize("name", sorted(COMPARE_ALL))
def test_it_compares_every_family_of_adapters(name: str) -> None:
    domain = load_experiment(name).space.root["adapter"][0]
    families = {adapter.value for adapter in Adapter} - {"peft"}
    assert families <= set(domain.choice or ())  # type: ignore[arg-type]


@pytest.mark.parametrize("sweep", SWEEPS, ids=[space.name for space in SWEEPS])
def test_it_can_be_narrowed_to_one_adapter(sweep: ShippedExperiment) -> None:
    choice = load_experiment(sweep.name).space.root["adapter"][0].choice or ()
    for adapter in [a.value for a in Adapter if a is not Adapter.PEFT and a.value in choice]:
        for override in (f"trial.adapter={adapter}", f"space.adapter.choice=[{adapter}]"):
            experiment = load_experiment(sweep.name, [override])
            others = {a.value for a in Adapter} - {adapter}
            assert not [n for n in experiment.space.names if n.split(".")[0] in others]


@pytest.mark.parametrize("study", STUDIES)
def test_a_studys_files_say_what_it_reported_and_that_nothing_is_measured(study: str) -> None:
    metrics = {
        "yolos_small_coco": ["33.238", "33.339", "33.345", "33.273", "33.327"],
        "vit_base_pets": [".7787", ".7606", ".7935"],
    }[study]
    sweep = next(space for space in ALL if space.name == study)
    assert all(metric in sweep.description for metric in metrics)
    for adapter, metric in zip(STUDIES[study], metrics[-len(STUDIES[study]) :], strict=True):
        row = next(space for space in ALL if space.name == f"{study}_{adapter}")
        assert metric in row.description
        assert "Not yet measured here" in row.description
    assert "Not yet measured here" in sweep.description


def test_the_rows_of_study_a_have_its_settings() -> None:
    rows = {}
    for adapter in STUDIES["yolos_small_coco"]:
        experiment = load_experiment(f"yolos_small_coco_{adapter}")
        rows[adapter] = config = sole_config(experiment)
        assert config.adapter == adapter
        assert config.freeze_head
        assert (config.batch_size, config.accumulate, config.epochs) == (4, 4, 10)
        shares = experiment.data.splits
        parts = [round(3000 * share, 6) for share in (shares.train, shares.validation, shares.test)]
        assert parts == [1470, 630, 900]
    lora, adalora, loha, lokr = rows.values()
    assert (lora.section.rank, lora.section.alpha, lora.section.dropout) == (16, 8, 0.5)
    assert (adalora.section.init_rank, adalora.section.target_rank, adalora.section.interval) == (24, 16, 8)
    assert (loha.section.rank, loha.section.alpha) == (8, 12)
    assert (loha.schedule, loha.restart_epochs, loha.restart_factor) == (Schedule.COSINE_RESTARTS, 2, 2)
    assert (lokr.section.rank, lokr.section.alpha, lokr.section.decompose_factor) == (8, 16, 8)
    assert lokr.section.decompose_both
    assert [c.learning_rate for c in rows.values()] == [5e-5, 3e-5, 3e-5, 3e-5]
    assert [c.weight_decay for c in rows.values()] == [0.01, 0.01, 0.01, 5e-3]
    assert lokr.schedule is Schedule.PLATEAU


def test_the_sweep_of_study_a_starts_with_its_rows() -> None:
    sweep = load_experiment("yolos_small_coco")
    first = {str(params["adapter"]): sweep.trial_config(params) for params in sweep.search.first}
    for adapter in STUDIES["yolos_small_coco"]:
        row = sole_config(load_experiment(f"yolos_small_coco_{adapter}"))
        others = {a.value for a in Adapter} - {adapter} | {"precision", "freezing"}
        if row.schedule is not Schedule.COSINE:
            others.add("warmup")  # not used
        config = first[adapter]
        assert config.model_dump(exclude=others) == row.model_dump(exclude=others), adapter
        assert config.mode == row.mode


def test_study_b_has_its_ranges_and_one_parameter_budget() -> None:
    space = load_experiment("vit_base_pets").space.root
    for name in ("lora.rank", "serial_lora.rank"):
        assert space[name][0].choice == (4, 8, 16, 32)
    for name in ("lora.alpha", "localized_lora.alpha"):
        assert space[name][0].choice == (4, 8, 16, 32, 64)
    for name in ("localized_lora.block_rank", "localized_lora.blocks"):
        assert space[name][0].choice == (2, 4, 8, 16)
    assert space["unfreeze_epoch"][0].choice == (2, 5, 10)
    assert space["weight_decay"][0].choice == (1e-4, 1e-3, 1e-2)
    assert space["rates"][0].choice == ("together", "apart")
    assert space["learning_rate"][0].real == space["head_learning_rate"][0].real == (1e-5, 1e-2)
    rows = {a: sole_config(load_experiment(f"vit_base_pets_{a}")) for a in STUDIES["vit_base_pets"]}
    assert all(config.loss is Loss.LOG_COSH_DICE for config in rows.values())
    local = rows["localized_lora"].section
    budgets = [
        36_864 * rows["lora"].section.rank,
        18_432 * rows["serial_lora"].section.rank,
        36_864 * local.blocks * local.block_rank,
    ]
    assert budgets == [589_824] * 3


def test_trimaps_become_classes() -> None:
    for name in ("vit_base_pets", *(f"vit_base_pets_{adapter}" for adapter in STUDIES["vit_base_pets"])):
        masks = load_experiment(name).data.masks
        assert masks is not None
        assert dict(zip(masks.values or (), masks.classes, strict=True)) == {
            1: "pet", 2: "background", 3: "border"
        }  # fmt: skip


def test_a_sweep_and_a_single_configuration_are_not_taken_for_each_other() -> None:
    with pytest.raises(ExperimentFileError, match="adaptertune launch"):
        sole_config(load_experiment("vit_base_pets"))
    with pytest.raises(ExperimentFileError, match="adaptertune train"):
        load_experiment("vit_base_pets_lora").require_space()
