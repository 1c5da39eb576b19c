"""What null removes: parameters of the space and domains of the data, and nothing that is not there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trainables.errors import ExperimentFileError
from tuning.experiment.load import load_experiment

TEXT = """name: pets
task: segmentation
objective: {metric: dice}
data: {embedded: {}, domains: {noisy: {embedded: noisy}}}
space:
  adapter: {choice: [lora, adalora]}
  lora.rank: {choice: [4, 8]}
  lora.alpha: {choice: [4, 8]}
  learning_rate: {float: [1e-4, 1e-2], log: true}
search: {trials: 8}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "pets.yaml"
    path.write_text(TEXT)
    return path


@pytest.mark.parametrize(
    ("override", "names"),
    [
        ("space.lora.rank=null", ["adapter", "lora.alpha", "learning_rate"]),
        ("space.lora=null", ["adapter", "learning_rate"]),
        ("space.learning_rate.log=null", ["adapter", "lora.rank", "lora.alpha", "learning_rate"]),
        ("space.learning_rate.step=null", ["adapter", "lora.rank", "lora.alpha", "learning_rate"]),
    ],
)
def test_null_removes_what_is_there(file: Path, override: str, names: list[str]) -> None:
    assert list(load_experiment(file, [override]).space.names) == names


def test_a_domain_of_the_data_is_removed_too(file: Path) -> None:
    assert not load_experiment(file, ["data.domains.noisy=null"]).data.domains


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("space.typo=null", "space.typo  the space has no such parameter, so it cannot be removed"),
        ("space.learning_rat=null", "did you mean 'learning_rate'?"),
        ("space.lora.rnk=null", "the space has no such parameter, so it cannot be removed"),
        ("space.weight_decay=null", "the space has no such parameter, so it cannot be removed"),
        (
            "data.domains.nosy=null",
            "the data has no such domain, so it cannot be removed; did you mean 'noisy'?",
        ),
    ],
)
def test_null_for_what_is_not_there_is_an_error(file: Path, override: str, said: str) -> None:
    with pytest.raises(ExperimentFileError) as caught:
        load_experiment(file, [override])
    assert said in str(caught.value)
    assert "--set" in str(caught.value)


def test_from_python_too(file: Path) -> None:
    from adaptertune.experiment_input import read_experiment

    with pytest.raises(ExperimentFileError, match="no such parameter"):
        read_experiment(file, {"space": {"typo": None}}, None)
    with pytest.raises(ExperimentFileError, match="no such parameter"):
        read_experiment(json.loads(json.dumps({"name": "x"})), {}, {"space.typo": None})


def test_an_invalid_setting_is_not_taken_for_its_default(file: Path) -> None:
    file.write_text(TEXT + "trial: {epochs: many, adapter: adalora}\nscheduler: {asha: {grace_epochs: 20}}\n")
    with pytest.raises(ExperimentFileError) as caught:
        load_experiment(file)
    assert "trial.epochs" in str(caught.value)
    assert "grace_epochs" not in str(caught.value)


def test_an_invalid_adapter_does_not_make_other_settings_seem_useless(file: Path) -> None:
    text = TEXT.replace("  adapter: {choice: [lora, adalora]}\n", "").replace("lora.", "adalora.")
    file.write_text(text.replace("adalora.alpha", "adalora.lora_alpha") + "trial: {adapter: adalroa}\n")
    with pytest.raises(ExperimentFileError) as caught:
        load_experiment(file)
    assert "trial.adapter" in str(caught.value)
    assert "never applies" not in str(caught.value)
