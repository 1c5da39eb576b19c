from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from python_sweeps import WRITTEN

from adaptertune.experiment_input import Overrides, read_experiment
from search_spaces.catalog import shipped_experiments
from trainables.errors import AdaptertuneError, ExperimentFileError
from tuning.experiment.load import load_experiment
from tuning.experiment.spec import NOT_IN_FILES, Experiment
from tuning.experiment.write import document_of
from tuning.experiment.yaml_lines import dump_yaml


def read(given: Any = WRITTEN, replaced: Any = None, **overrides: Any) -> Experiment:
    return read_experiment(given, overrides, replaced, others=("set", "address"))


def without_text(experiment: Experiment) -> Experiment:
    return experiment.model_copy(update={"source_text": ""})


def test_every_key_of_a_file_is_an_argument() -> None:
    fields = {*Experiment.model_fields, "trials"}
    assert {*Overrides.__annotations__} == fields - NOT_IN_FILES - {"ablation"}


@pytest.mark.parametrize("name", [file.name for file in shipped_experiments()])
def test_an_experiment_written_as_a_dict_is_the_same_experiment(name: str) -> None:
    experiment = load_experiment(name)
    assert without_text(read(document_of(experiment))) == without_text(experiment)
    assert read(experiment) is experiment


def test_a_dict_is_what_its_file_is(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(dump_yaml(WRITTEN))
    assert read() == read(file) == read(str(file))


def test_a_mapping_changes_its_keys_and_leaves_the_others() -> None:
    before = read("quickstart")
    after = read(
        "quickstart",
        name="mine",
        trials=3,
        retries=1,
        trial={"epochs": 2, "lora": {"dropout": 0.1}},
        data={"embedded": {"train": 32}},
        space={
            "learning_rate": {"choice": [1e-3]},
            "lora.rank": None,
            "serial_lora": {"rank": {"choice": [8]}},
        },
        scheduler="none",
    )
    assert (after.name, after.search.trials, after.retries) == ("mine", 3, 1)
    assert after.search.tpe == before.search.tpe
    assert after.trial == {**before.trial, "epochs": 2, "lora": {"dropout": 0.1}}
    assert after.data.embedded is not None
    assert before.data.embedded is not None
    assert after.data.embedded == before.data.embedded.model_copy(update={"train": 32})
    assert after.data.domains == before.data.domains
    assert after.space.root["learning_rate"][0].choice == (1e-3,)
    assert "lora.rank" not in after.space.root
    assert after.space.root["serial_lora.rank"][0].choice == (8,)
    assert after.scheduler.asha is None


def test_set_replaces_what_is_there() -> None:
    after = read("quickstart", {"scheduler": {"median": {}}, "trial.epochs": 4}, trial={"epochs": 2})
    assert (after.scheduler.asha, after.trial["epochs"]) == (None, 4)
    assert after.scheduler.median is not None


def test_an_experiment_is_changed_and_checked(tmp_path: Path) -> None:
    asked = read()
    assert read(asked, trials=5).search.trials == 5
    unchecked = asked.model_copy(update={"trial": {"learning_rate": "fast"}})
    with pytest.raises(ExperimentFileError, match=r"trial\.learning_rate"):
        read(unchecked)


def test_paths_of_a_dict_are_relative_to_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    part = {"images": Path("images"), "annotations": "boxes.json"}
    found = read({**WRITTEN, "data": {"coco": {"train": part}}})
    assert found.data.coco is not None
    assert found.data.coco.train.images == str(tmp_path / "images")


def test_all_errors_of_a_dict_come_at_once_by_dotted_key() -> None:
    wrong = {
        **WRITTEN,
        "objective": {"metric": "mapp"},
        "space": {"lora.rank": {"choice": ["eight"]}},
        "retries": float("nan"),
    }
    with pytest.raises(ExperimentFileError) as caught:
        read(wrong, {"trial.epochz": 3}, trial={"batch_size": 0})
    lines = str(caught.value).splitlines()
    assert lines[0] == "experiment sweep: 5 errors"
    found = {tuple(line.split()[:2]) for line in lines[1:6]}
    assert found == {
        ("dict", "objective.metric"),
        ("dict", "space.lora.rank.choice"),
        ("dict", "retries"),
        ("set", "trial.epochz"),
        ("set", "trial.batch_size"),
    }
    assert "did you mean 'map'?" in str(caught.value)


def test_errors_of_a_file_name_its_lines_and_set() -> None:
    with pytest.raises(ExperimentFileError) as caught:
        read("quickstart", trials="x", trial={"epochz": 3})
    assert "--set" not in str(caught.value)
    assert "\n  set    trial.epochz   unknown key; did you mean 'epochs'?" in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"trails": 3}, "there is no argument 'trails'; did you mean 'trials'?"),
        ({"adress": "auto"}, "did you mean 'address'?"),
        ({"epochs": 3}, "it is a setting of trials: write trial={'epochs': …}"),
        ({"something": 3}, ": name, task, model"),
    ],
)
def test_an_unknown_argument_is_reported_with_what_may_be_meant(overrides: Any, message: str) -> None:
    with pytest.raises(AdaptertuneError) as caught:
        read(**overrides)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("given", "replaced", "message"),
    [
        (3, None, "got int"),
        ("quickstrat", None, "did you mean 'quickstart'?"),
        ({}, None, "experiment: 3 errors"),
        (WRITTEN, [1], "set must be a mapping"),
        (WRITTEN, {"a=b": 1}, "must be a dotted key"),
        (WRITTEN, {3: 1}, "must be a dotted key"),
        (WRITTEN, {"trial.epochs": {1, 2}}, "got set"),
    ],
)
def test_what_is_no_experiment_is_reported(given: Any, replaced: Any, message: str) -> None:
    with pytest.raises(ExperimentFileError) as caught:
        read(given, replaced)
    assert message in str(caught.value)
