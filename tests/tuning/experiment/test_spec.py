from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from scripted import experiment

from search_spaces.catalog import shipped_experiments
from trainables.adapters.rules import check_adapter_fits
from trainables.errors import ExperimentFileError
from trainables.specs.adapters import Adapter, Freezing
from trainables.specs.data import Domain
from trainables.specs.workload import Task
from tuning.experiment.checks.combinations import Shape, shape_of
from tuning.experiment.checks.draft import Draft
from tuning.experiment.json_schema import attribute_docs, experiment_schema
from tuning.experiment.load import load_experiment
from tuning.experiment.moved_data import data_paths
from tuning.experiment.settings import setting_names
from tuning.experiment.spec import NOT_IN_FILES, Experiment
from tuning.experiment.write import experiment_yaml
from tuning.experiment.yaml_lines import dump_yaml as yaml_text
from tuning.experiment.yaml_lines import read_yaml

ROOT = Path(__file__).parents[3]

WHOLE = """\
name: whole
task: segmentation
model: {name: embedded}
data:
  embedded: {domain: noisy, train: 128}
objective: {metric: iou, mode: max, value: last}
trial:
  epochs: 4
  learning_rate: 1
  lora: {alpha: 8}
  augment.horizontal_flip: 1e-1
  early_stopping: {}
space:
  adapter: {choice: [none, lora, adalora]}
  freezing:
    - {choice: [head_only, full], when: {adapter: none}}
    - {choice: [frozen, unfreeze_at], when: {adapter: [lora, adalora]}}
  unfreeze_epoch: {choice: [1, 2], when: {freezing: unfreeze_at}}
  lora: {rank: {choice: [4, 8]}}
  adalora.target_rank: {int: [2, 12], step: 5}
  weight_decay: {float: [1e-4, 1e-1], log: true}
search:
  random: {}
  trials: 5
  first:
    - {adapter: lora, freezing: frozen, lora: {rank: 4}, weight_decay: 1e-3}
scheduler:
  median: {grace_epochs: 2}
resources: {cpus: 1, gpus: 0.5, concurrent: 2}
retries: 1
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "whole.yaml"
    path.write_text(WHOLE)
    return path


def test_every_part_is_read(file: Path) -> None:
    experiment = load_experiment(file)
    assert experiment.task is Task.SEGMENTATION
    assert experiment.data.embedded is not None
    assert experiment.data.embedded.domain is Domain.NOISY
    assert experiment.trial["augment"] == {"horizontal_flip": 0.1}
    assert experiment.space.names == (
        "adapter", "freezing", "unfreeze_epoch", "lora.rank", "adalora.target_rank", "weight_decay",
    )  # fmt: skip
    assert experiment.search.random is not None
    assert experiment.search.tpe is None
    assert experiment.search.first[0]["lora.rank"] == 4
    assert experiment.scheduler.median is not None
    assert experiment.scheduler.asha is None
    assert experiment.resources.gpus == 0.5
    assert experiment.max_epochs == 4
    assert experiment.source_text == WHOLE
    assert experiment.workload.objective.metric == "iou"


def test_defaults(tmp_path: Path) -> None:
    (tmp_path / "e.yaml").write_text("name: e\ntask: detection\nobjective: {metric: map}\n")
    experiment = load_experiment(tmp_path / "e.yaml")
    assert experiment.search.tpe is not None
    assert experiment.scheduler.asha is experiment.scheduler.median is None
    assert experiment.resources.gpus == "auto"
    assert experiment.data.embedded is not None
    assert experiment.max_epochs == 10
    assert experiment.trial_config({}).adapter is Adapter.LORA


def test_a_trials_configuration_is_defaults_then_trial_then_parameters(file: Path) -> None:
    config = load_experiment(file).trial_config({"adapter": "lora", "lora.rank": 4, "freezing": "frozen"})
    assert (config.section.rank, config.section.alpha, config.section.dropout) == (4, 8.0, 0.0)
    assert (config.epochs, config.learning_rate, config.mode) == (4, 1.0, Freezing.FROZEN)
    assert config.early_stopping is not None


def test_a_configuration_that_does_not_fit_together_is_an_error(file: Path) -> None:
    with pytest.raises(
        ExperimentFileError, match="is not a valid configuration: freezing 'full' needs adapter 'none'"
    ):
        load_experiment(file).trial_config({"freezing": "full"})


def test_round_trip_through_json(file: Path) -> None:
    experiment = load_experiment(file)
    assert Experiment.model_validate_json(experiment.model_dump_json()) == experiment
    assert Experiment.model_validate_json(json.dumps(experiment.model_dump(mode="json"))) == experiment


def test_one_configuration_as_a_file_of_its_own(file: Path, tmp_path: Path) -> None:
    experiment = load_experiment(file)
    rng = random.Random(1)
    for number in range(20):
        params = experiment.space.sample(rng)
        (tmp_path / "one.yaml").write_text(experiment_yaml(experiment, params))
        sole = load_experiment(tmp_path / "one.yaml")
        assert not sole.space
        assert sole.workload == experiment.workload
        config, wanted = sole.trial_config({}), experiment.trial_config(params)
        unused = {name: None for name in ("lora", "adalora") if name != wanted.adapter}
        assert config == wanted.model_copy(update=unused), number


def test_without_a_space_there_is_nothing_to_search(tmp_path: Path, file: Path) -> None:
    load_experiment(file).require_space()
    (tmp_path / "e.yaml").write_text("name: e\ntask: detection\nobjective: {metric: map}\n")
    with pytest.raises(ExperimentFileError, match=r"no `space`.*adaptertune train"):
        load_experiment(tmp_path / "e.yaml").require_space()


# --- paths ------------------------------------------------------------------------------------


def test_paths_are_relative_to_the_file_and_those_of_overrides_to_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    (there / "checkpoint").mkdir(parents=True)
    here.mkdir()
    (there / "e.yaml").write_text(
        "name: e\ntask: detection\nmodel: {name: checkpoint}\nobjective: {metric: map}\n"
        "data: {coco: {train: {images: ../images, annotations: /abs/a.json}}}\n"
    )
    monkeypatch.chdir(here)
    coco = load_experiment("../there/e.yaml", ["data.coco.validation={images: v, annotations: v.json}"])
    assert coco.model.name == str(there / "checkpoint")
    assert coco.data.coco is not None
    assert coco.data.coco.train.images == str(tmp_path / "images")
    assert coco.data.coco.train.annotations == "/abs/a.json"
    assert coco.data.coco.validation is not None
    assert coco.data.coco.validation.images == str(here / "v")


def test_every_path_of_every_format_is_made_absolute(tmp_path: Path) -> None:
    head = "name: e\ntask: detection\nobjective: {metric: map}\n"
    yolo, voc = tmp_path / "yolo.yaml", tmp_path / "voc.yaml"
    yolo.write_text(f"{head}data: {{yolo: {{file: a.yaml}}, domains: {{far: {{yolo: {{file: b.yaml}}}}}}}}\n")
    part = "{images: i, annotations: a, list: l.txt}"
    far = part.replace("l.txt", "m.txt")
    voc.write_text(f"{head}data: {{voc: {{train: {part}}}, domains: {{far: {{voc: {far}}}}}}}\n")
    folder, labelme = tmp_path / "folder.yaml", tmp_path / "labelme.yaml"
    folder.write_text(f"{head}data: {{folder: set}}\n")
    labelme.write_text(f"{head}data: {{labelme: {{train: {{folder: set}}}}}}\n")
    for file, count in ((yolo, 2), (voc, 6), (folder, 1), (labelme, 1)):
        paths = data_paths(load_experiment(file))
        assert all(Path(path).parent == tmp_path for path in paths.values())
        assert len(paths) == count


@pytest.mark.parametrize("name", ["hustvl/yolos-small", "embedded"])
def test_a_hub_id_stays_what_it_is(name: str, file: Path) -> None:
    assert load_experiment(file, [f"model.name={name}"]).model.name == name


# --- overrides --------------------------------------------------------------------------------


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


# --- checks that need the model ---------------------------------------------------------------


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


def test_a_draft_without_parts_has_no_errors() -> None:
    from tuning.experiment.checks.sections import check_parts

    assert list(check_parts(Draft())) == []


# --- YAML, schema, speed ----------------------------------------------------------------------


def test_yaml_is_written_as_it_reads_back() -> None:
    value = {
        "text": ["1e-4", "yes", "null", "a: b", "", "- x", "2020-01-01", "01", "#", "ä", "true"],
        "numbers": [1, 1.5, 1e-05, 1e22, -3, 0.1],
        "rest": {"nothing": None, "truth": True, "empty": {}, "none": [], "nested": [[1, 2], {"a": [3]}]},
    }
    assert read_yaml(yaml_text(value)).value == value


def test_yaml_1_2_numbers_and_words() -> None:
    text = "[1e-4, 1E3, .5, 0x1F, 0o17, 1_000, -2, .inf, yes, on, True, ~, 012]"
    assert read_yaml(text).value == [
        1e-4, 1000.0, 0.5, 31, 15, 1000, -2, float("inf"), "yes", "on", True, None, 12,
    ]  # fmt: skip


def test_aliases_and_merges() -> None:
    document = read_yaml("a: &x {p: 1, q: 2}\nb: {<<: *x, q: 3}\nc: *x\n")
    assert document.value == {"a": {"p": 1, "q": 2}, "b": {"p": 1, "q": 3}, "c": {"p": 1, "q": 2}}
    assert document.where[("a",)] == 1
    assert document.where[("b", "q")] == 2


def test_the_schema_accepts_what_is_valid_and_knows_the_space(file: Path) -> None:
    schema = experiment_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for path in [file, *(space.path for space in shipped_experiments())]:
        assert not [error.message for error in validator.iter_errors(read_yaml(path.read_text()).value)]
    valid = {"name": "a", "task": "detection", "objective": {"metric": "map"}}
    for wrong in (
        {"space": {"lora.rank": {"choice": ["eight"]}}},
        {"space": {"lora": {"rnak": {"choice": [8]}}}},
        {"space": {"loss": {"int": [1, 3]}}},
        {"trial": {"lora.rank": 0}},
        {"scheduler": "hyperband"},
        {"source_text": ""},
        {"definitions": {"dice": 2}},
    ):
        assert not validator.is_valid(valid | wrong), wrong


def test_every_setting_is_in_the_reference() -> None:
    text = (ROOT / "docs" / "reference" / "experiment-file.md").read_text()
    missing = [name for name in setting_names() if f"`{name}`" not in text]
    parts = [name for name in Experiment.model_fields if name not in NOT_IN_FILES and f"`{name}`" not in text]
    assert not missing
    assert not parts


def test_the_number_of_trials_is_bounded_by_the_space() -> None:
    few = experiment(space={"adapter": {"choice": ["lora"]}, "lora.rank": {"choice": [4, 8]}})
    assert few.trials_asked == 2
    assert experiment().trials_asked == 8


def test_attribute_docs_are_read_from_source() -> None:
    assert attribute_docs(Experiment)["retries"].startswith("The number of times that a trial is restarted")


def test_checking_a_file_imports_nothing_heavy() -> None:
    code = (
        "import sys; from tuning.experiment.load import load_experiment;"
        "from tuning.experiment.json_schema import experiment_schema;"
        "load_experiment('quickstart');"
        "experiment_schema();"
        "print([m for m in ('torch', 'ray', 'optuna', 'numpy', 'peft', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def test_the_references_example_is_valid(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "reference" / "experiment-file.md").read_text()
    (tmp_path / "example.yaml").write_text(text.split("```yaml\n")[1].split("```")[0])
    assert load_experiment(tmp_path / "example.yaml").search.trials == 24


def test_an_override_keeps_those_first_configurations_that_still_lie_in_the_space() -> None:
    whole = load_experiment("quickstart").search.first
    fixed = load_experiment("quickstart", ["trial.adapter=lora"]).search.first
    assert [{"adapter": "lora", **params} for params in fixed] == [p for p in whole if p["adapter"] == "lora"]
    narrow = load_experiment("quickstart", ["space.adapter.choice=[none, loha]"]).search.first
    assert list(narrow) == [p for p in whole if p["adapter"] in ("none", "loha")]
    assert load_experiment("quickstart", ["trial.epochs=3"]).search.first == whole
    assert load_experiment("quickstart", ["space={lora.rank: {choice: [2, 4]}}"]).search.first == ()
