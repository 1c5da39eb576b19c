"""The header of a model card, read by the hub's own library, and a base that others can load."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from exporting import SETTINGS, trained
from huggingface_hub import ModelCard

from trainables.backbones import EMBEDDED
from trainables.export.card_facts import Card
from trainables.export.use import load
from trainables.export.write import ExportKind, export_model
from trainables.specs.workload import Task

TEST = {
    "in domain": {"dice": np.float32(0.75), "iou": np.float64(0.5), "dice/1": 0.25},
    "stain": {"dice": 0.5, "iou": math.nan},
}


def test_its_metrics_are_plain_floats_that_the_hub_reads(tmp_path: Path) -> None:
    """A NumPy number would be a tag of YAML that `ModelCard.load` refuses."""
    metrics = {"dice": np.float32(0.7), "iou": np.float64(0.4)}
    card = Card(title="nuclei: trial 7 @ best", metrics=metrics, epoch=3.0, test=TEST)
    export_model(trained(Task.SEGMENTATION, SETTINGS["lora"]), tmp_path / "out", merge=False, card=card)
    data = ModelCard.load(tmp_path / "out" / "README.md").data
    assert (data.library_name, data.pipeline_tag) == ("peft", "image-segmentation")
    assert data.tags == ["adaptertune", "lora"]
    assert data.base_model is None
    assert data.model_name == "nuclei: trial 7 @ best"
    found = [(result.dataset_name, result.metric_type, result.metric_value) for result in data.eval_results]
    assert found == [
        ("test images, in domain", "dice", 0.75),
        ("test images, in domain", "iou", 0.5),
        ("test images, stain", "dice", 0.5),
    ]
    assert all(type(result.metric_value) is float for result in data.eval_results)
    assert '"iou": 0.4' in (tmp_path / "out" / "README.md").read_text()


def test_without_metrics_on_test_images_it_has_those_on_validation_images(tmp_path: Path) -> None:
    card = Card(title="one", metrics={"dice": 0.5}, confirmed="trial 2 and trial 4 are not told apart")
    export_model(trained(Task.SEGMENTATION, SETTINGS["none"]), tmp_path / "out", merge=False, card=card)
    (result,) = ModelCard.load(tmp_path / "out" / "README.md").data.eval_results
    assert (result.dataset_name, result.metric_type, result.metric_value) == (
        "validation images",
        "dice",
        0.5,
    )
    said = (
        "The best trials of its search were repeated over new seeds: trial 2 and trial 4 are not told apart."
    )
    assert said in (tmp_path / "out" / "README.md").read_text()


def test_without_metrics_it_can_be_read(tmp_path: Path) -> None:
    export_model(
        trained(Task.SEGMENTATION, SETTINGS["none"]), tmp_path / "out", merge=False, card=Card(title="one")
    )
    data = ModelCard.load(tmp_path / "out" / "README.md").data
    assert (data.library_name, data.eval_results) == ("transformers", None)


@pytest.mark.parametrize("task", list(EMBEDDED))
def test_elsewhere_a_local_base_is_in_the_folder_and_no_path_of_this_machine(
    tmp_path: Path, task: Task
) -> None:
    base = Path(shutil.copytree(EMBEDDED[task], tmp_path / "secret" / "place" / "backbone"))
    model = trained(task, SETTINGS["lora"], name=str(base))
    here = export_model(model, tmp_path / "here", merge=False, card=Card(title="one"))
    assert here.base == str(base)
    done = export_model(model, tmp_path / "out", merge=False, card=Card(title="one"), elsewhere=True)
    assert (done.kind, done.base) == (ExportKind.ADAPTER, "base")
    shutil.rmtree(base)
    load(tmp_path / "out", local_files_only=True)
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "base"
    for path in (tmp_path / "out").rglob("*"):
        assert path.is_dir() or b"secret/place" not in path.read_bytes(), path
