from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from scripted import experiment

from trainables.errors import ExperimentFileError
from trainables.specs.adapters import Adapter, Freezing
from trainables.specs.data import Domain
from trainables.specs.workload import Task
from tuning.experiment.load import load_experiment
from tuning.experiment.spec import Experiment

ROOT = Path(__file__).parents[3]


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
    assert experiment.source_text == file.read_text()
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


def test_without_a_space_there_is_nothing_to_search(tmp_path: Path, file: Path) -> None:
    load_experiment(file).require_space()
    (tmp_path / "e.yaml").write_text("name: e\ntask: detection\nobjective: {metric: map}\n")
    with pytest.raises(ExperimentFileError, match=r"no `space`.*adaptertune train"):
        load_experiment(tmp_path / "e.yaml").require_space()


def test_the_number_of_trials_is_bounded_by_the_space() -> None:
    few = experiment(space={"adapter": {"choice": ["lora"]}, "lora.rank": {"choice": [4, 8]}})
    assert few.trials_asked == 2
    assert experiment().trials_asked == 8


def test_checking_a_file_imports_nothing_heavy() -> None:
    code = (
        "import sys; from tuning.experiment.load import load_experiment;"
        "from tuning.experiment.json_schema import experiment_schema;"
        "load_experiment('quickstart');"
        "experiment_schema();"
        "print([m for m in ('torch', 'ray', 'optuna', 'numpy', 'peft', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=300
    )
    assert done.stdout.strip() == "[]"


def test_the_references_example_is_valid(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "reference" / "experiment-file.md").read_text()
    (tmp_path / "example.yaml").write_text(text.split("```yaml\n")[1].split("```")[0])
    assert load_experiment(tmp_path / "example.yaml").search.trials == 24
