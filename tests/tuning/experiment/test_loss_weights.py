"""Weights of classes in the loss, and sampling by class: read, searched, checked against the schema."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from data_makers import coco_folder
from typer.testing import Result

from trainables.errors import ExperimentFileError
from trainables.specs.trial import Balance
from trainables.specs.workload import ModelSpec, Task
from tuning.experiment.checks.local_checkpoint import weights_refused
from tuning.experiment.json_schema import experiment_schema
from tuning.experiment.load import load_experiment
from tuning.experiment.spec import Experiment


def document(**parts: Any) -> dict[str, Any]:
    given = {"name": "w", "task": "segmentation", "objective": {"metric": "dice"}}
    return given | {"data": {"embedded": {}}} | parts


def loaded(folder: Path, **parts: Any) -> Experiment:
    path = folder / "w.yaml"
    path.write_text(json.dumps(document(**parts)))
    return load_experiment(path)


@pytest.mark.parametrize(
    "trial", [{"loss_weights": {"3": 4, "7": 0.5}}, {"loss_weights.3": 4, "loss_weights.7": 0.5}]
)
def test_fixed_weights_nested_or_dotted(tmp_path: Path, trial: dict[str, Any]) -> None:
    experiment = loaded(tmp_path, trial=trial)
    assert experiment.trial_config({}).loss_weights == {"3": 4.0, "7": 0.5}
    assert experiment.weighted_classes == ("3", "7")


@pytest.mark.parametrize(
    "space", [{"loss_weights": {"3": {"float": [1, 8]}}}, {"loss_weights.3": {"float": [1, 8]}}]
)
def test_searched_weights_next_to_fixed_ones(tmp_path: Path, space: dict[str, Any]) -> None:
    trial = {"loss_weights": {"7": 2}}
    experiment = loaded(tmp_path, trial=trial, space=space, search={"trials": 2})
    assert experiment.space.names == ("loss_weights.3",)
    assert experiment.trial_config({"loss_weights.3": 5.0}).loss_weights == {"7": 2.0, "3": 5.0}
    assert experiment.weighted_classes == ("7", "3")


def test_sampling_is_searched(tmp_path: Path) -> None:
    space = {
        "sampling.balance": {"choice": ["none", "class"]},
        "sampling.power": {"float": [0.25, 1.0], "when": {"sampling.balance": "class"}},
    }
    experiment = loaded(tmp_path, space=space, search={"trials": 2})
    found = experiment.trial_config({"sampling.balance": "class", "sampling.power": 0.75}).sampling
    assert (found.balance, found.power) == (Balance.CLASS, 0.75)
    assert loaded(tmp_path).trial_config({}).sampling.balance is Balance.NONE


def test_a_power_without_balance_is_refused(tmp_path: Path) -> None:
    rule = "sampling.power needs sampling.balance 'class'; remove it, or search it with when"
    with pytest.raises(ExperimentFileError, match=f"trial.sampling.power  {rule}"):
        loaded(tmp_path, trial={"sampling": {"power": 0.75}})
    choice = {"sampling.balance": {"choice": ["none", "class"]}}
    always = {"sampling.power": {"float": [0.25, 1.0]}}
    with pytest.raises(ExperimentFileError, match=f"space.sampling.power  {rule}"):
        loaded(tmp_path, space=choice | always, search={"trials": 2})
    loaded(tmp_path, trial={"sampling": {"balance": "class"}}, space=always, search={"trials": 2})


def test_a_class_whose_name_has_a_dot_is_given_with_the_others(tmp_path: Path) -> None:
    masks = {
        "train": {"images": str(tmp_path), "masks": str(tmp_path)},
        "classes": ["background", "St. Bernard"],
    }
    experiment = loaded(tmp_path, data={"masks": masks}, trial={"loss_weights": {"St. Bernard": 2}})
    assert experiment.trial_config({}).loss_weights == {"St. Bernard": 2.0}
    assert Experiment.model_validate_json(experiment.model_dump_json()).weighted_classes == ("St. Bernard",)


def test_the_loss_is_no_objective_of_a_search_over_weights(tmp_path: Path) -> None:
    space = {"loss_weights.3": {"float": [1, 8]}}
    with pytest.raises(ExperimentFileError, match="is loss, but trials have different loss_weights"):
        loaded(tmp_path, objective={"metric": "loss"}, space=space, search={"trials": 2})
    loaded(tmp_path, objective={"metric": "loss"}, trial={"loss_weights": {"3": 2}})


@pytest.mark.parametrize(
    ("valid", "parts"),
    [
        (True, {"trial": {"loss_weights": {"3": 4}, "sampling": {"balance": "class"}}}),
        (True, {"trial": {"loss_weights.3": 4, "sampling.balance": "class"}}),
        (True, {"space": {"loss_weights": {"3": {"float": [1, 8]}}}}),
        (True, {"space": {"loss_weights.3": {"choice": [1, 8]}, "sampling.power": {"float": [0.1, 1]}}}),
        (False, {"trial": {"loss_weights": {"3": 0}}}),
        (False, {"trial": {"loss_weights.3": "much"}}),
        (False, {"trial": {"sampling": {"balance": "classes"}}}),
        (False, {"space": {"loss_weights": {"3": [1, 8]}}}),
        (False, {"space": {"loss_weights.3": {"choices": [1]}}}),
    ],
)
def test_the_schema_knows_them(valid: bool, parts: dict[str, Any]) -> None:
    validator = jsonschema.Draft202012Validator(experiment_schema())
    assert validator.is_valid(document(**parts)) is valid


def test_validate_knows_the_classes_of_coco_files(run: Callable[..., Result], tmp_path: Path) -> None:
    path = tmp_path / "pets.yaml"
    parts = {
        "task": "detection",
        "objective": {"metric": "map"},
        "data": {"coco": {"train": coco_folder(tmp_path, 3)}},
    }
    path.write_text(json.dumps(document(**parts, trial={"loss_weights": {"cats": 2}})))
    said = run("validate", str(path), code=2).stderr
    assert "loss_weights  there is no class 'cats'; did you mean 'cat'?" in said
    path.write_text(json.dumps(document(**parts, trial={"loss_weights": {"cat": 2}})))
    run("validate", str(path))


@pytest.mark.parametrize("part", ["trial", "space"])
@pytest.mark.parametrize(
    ("task", "kind"), [(task, kind) for task in Task for kind in sorted(task.facts.own_losses)]
)
def test_a_loss_of_transformers_takes_no_weights(tmp_path: Path, task: Task, kind: str, part: str) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps({"model_type": kind}))
    given: dict[str, Any] = {"trial": {"loss_weights": {"3": 2}}}
    if part == "space":
        given = {"space": {"loss_weights.3": {"float": [1, 8]}}, "search": {"trials": 2}}
    more = {"task": str(task), "objective": {"metric": task.facts.main_metric}}
    with pytest.raises(ExperimentFileError, match=rf"{part}.loss_weights.*the loss of {kind} is that of"):
        loaded(tmp_path, model={"name": str(tmp_path / "model")}, **more, **given)


def test_a_checkpoint_of_the_hub_is_known_once_it_was_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = tmp_path / "models--some--detector" / "snapshots" / "abc"
    saved.mkdir(parents=True)
    (saved / "config.json").write_text(json.dumps({"model_type": "rt_detr_v2"}))
    (tmp_path / "models--some--detector" / "refs").mkdir()
    (tmp_path / "models--some--detector" / "refs" / "main").write_text("abc")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    model = ModelSpec(name="some/detector")
    assert weights_refused(model, Task.DETECTION) is None
    assert "rt_detr_v2" in str(weights_refused(model, Task.DETECTION, cached=True))
    assert weights_refused(ModelSpec(name="other/detector"), Task.DETECTION, cached=True) is None
    assert weights_refused(ModelSpec(name="/no/such/folder"), Task.DETECTION, cached=True) is None
