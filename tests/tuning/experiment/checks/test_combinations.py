from __future__ import annotations

import random
from pathlib import Path

import pytest

from search_spaces.catalog import shipped_experiments
from trainables.adapters.rules import check_adapter_fits
from trainables.errors import ExperimentFileError
from trainables.specs.workload import Task
from tuning.experiment.checks.combinations import Shape, shape_of
from tuning.experiment.load import load_experiment

ROOT = Path(__file__).parents[4]


def test_shapes_of_the_embedded_backbones() -> None:
    sole = load_experiment(ROOT / "search_spaces" / "quickstart.yaml").model
    assert (shape_of(sole, Task.SEGMENTATION).hidden, shape_of(sole, Task.SEGMENTATION).blocks) == (96, 4)
    assert (shape_of(sole, Task.DETECTION).hidden, shape_of(sole, Task.DETECTION).blocks) == (128, 5)


def test_a_local_checkpoints_width_is_checked(file: Path, tmp_path: Path) -> None:
    (tmp_path / "vit").mkdir()
    (tmp_path / "vit" / "config.json").write_text('{"hidden_size": 100, "num_hidden_layers": 2}')
    changes = [
        "trial.adapter=localized_lora",
        "space.lora=null",
        "search.first=[]",
        f"model.name={tmp_path}/vit",
    ]
    load_experiment(file, [*changes, "trial.localized_lora.blocks=5"])
    with pytest.raises(
        ExperimentFileError, match="blocks 3 must divide the hidden size 100; use 2, 4, 5, 10"
    ):
        load_experiment(file, [*changes, "trial.localized_lora.blocks=3"])
    with pytest.raises(ExperimentFileError, match=r"blocks \[0, 2\]: the model has 2 blocks"):
        load_experiment(file, [*changes, "trial.blocks=[0, 2]"])
    last = load_experiment(file, [*changes, "trial.localized_lora.blocks=5", "trial.blocks=[-1, -1]"])
    assert last.trial_config({}).blocks == (-1, -1), "what was written is what is kept"


def test_settings_of_our_heads_are_refused_for_a_local_model_with_its_own(file: Path, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "config.json").write_text('{"model_type": "segformer"}')
    model = f"model.name={tmp_path}/m"
    for change in ("trial.loss=dice", "trial.head.kind=linear", 'space.head.width={"choice": [4, 8]}'):
        load_experiment(file, ["search.first=[]", change])
        with pytest.raises(
            ExperimentFileError, match="has no meaning for segformer, which has its own; remove it"
        ):
            load_experiment(file, ["search.first=[]", change, model])
    load_experiment(file, ["search.first=[]", model])


ON_THE_HUB = {
    "hustvl/yolos-small": Shape(hidden=384, blocks=12, inner=1536),
    "google/vit-base-patch16-224": Shape(hidden=768, blocks=12, inner=3072),
    "facebook/dinov3-vits16-pretrain-lvd1689m": Shape(hidden=384, blocks=12, inner=1536),
    "PekingU/rtdetr_v2_r18vd": Shape(hidden=256, blocks=4, inner=1024),
    "Roboflow/rf-detr-base": Shape(hidden=384, blocks=15, inner=1536),
}


@pytest.mark.parametrize("name", [space.name for space in shipped_experiments()])
def test_whatever_a_checked_space_gives_fits(name: str) -> None:
    experiment = load_experiment(name)
    shape = ON_THE_HUB.get(experiment.model.name) or shape_of(experiment.model, experiment.task)
    assert shape.hidden is not None
    assert shape.blocks is not None
    rng = random.Random(7)
    for _ in range(300):
        config = experiment.trial_config(experiment.space.sample(rng))
        assert not check_adapter_fits(config, shape.hidden, shape.blocks, inner=shape.inner)


def test_an_error_at_one_value_of_a_wide_range_is_found(file: Path) -> None:
    """Sampling alone would see blocks 5 of {2 … 64} in one of hundreds of configurations."""
    with pytest.raises(ExperimentFileError, match=r"localized_lora.blocks 5 must divide.*; 52 more like it"):
        load_experiment(
            file,
            ["trial.adapter=localized_lora", "space.localized_lora.blocks={int: [2, 64]}", "search.first=[]"],
        )
