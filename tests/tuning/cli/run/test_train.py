from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from data_makers import coco_folder
from typer.testing import Result


def test_train_needs_one_configuration(run: Callable[..., Result]) -> None:
    assert "train runs one" in run("train", "quickstart", code=2).stderr
    assert "FILE" in run("train", code=2).stderr
    assert "has no trial 99" in run("train", "--from", "digits:99", code=2).stderr
    assert "name a trial" in run("train", "--from", "digits", code=2).stderr


@pytest.mark.usefixtures("training")
def test_train_leaves_weights_reports_and_its_file(run: Callable[..., Result], storage: Path) -> None:
    file = storage / "one.yaml"
    file.write_text(
        "name: one\ntask: segmentation\nobjective: {metric: dice}\n"
        "data: {embedded: {train: 16, validation: 4, test: 1}}\ntrial: {adapter: lora, epochs: 1}\n"
    )
    into = storage / "into"
    out = run("train", str(file), "--into", str(into)).stdout
    assert "epoch 1/1  dice" in out
    assert "done: dice" in out
    assert "data ready: 16 train, 4 validation, 1 test" in out
    assert "head kept" in out
    kept = {"best.ckpt", "last.ckpt", "experiment.yaml", "reports.jsonl", "environment.json", "splits.json"}
    kept |= {"data.json"}
    assert {p.name for p in into.iterdir()} == kept
    environment = json.loads((into / "environment.json").read_text())
    assert {"versions", "python", "devices", "processor"} <= environment.keys()
    (report,) = (into / "reports.jsonl").read_text().splitlines()
    assert json.loads(report)["epoch"] == 1.0
    assert "one configuration" in run("validate", str(into / "experiment.yaml")).stdout
    assert "already exists and is not empty" in run("train", str(file), "--into", str(into), code=2).stderr


@pytest.mark.usefixtures("training")
def test_train_says_what_the_data_are_and_what_was_wrong(run: Callable[..., Result], storage: Path) -> None:
    part = coco_folder(storage / "pets", 12)
    path = Path(part["annotations"])
    content = json.loads(path.read_text())
    for image in content["images"][:2]:
        image["width"] = 61
    content["annotations"][-1]["iscrowd"] = "1"
    path.write_text(json.dumps(content))
    file = storage / "pets.yaml"
    file.write_text(
        "name: pets\ntask: detection\nobjective: {metric: loss}\n"
        f"data: {{coco: {{train: {{images: {part['images']}, annotations: {path}}}}}}}\n"
        "trial: {adapter: none, epochs: 1, freezing: head_only}\n"
    )
    into = storage / "into-pets"
    out = run("train", str(file), "--into", str(into)).stdout
    kept = json.loads((into / "data.json").read_text())
    counts = ", ".join(f"{n} {split}" for split, n in kept["counts"].items())
    assert f"data ready: {counts}; boxes: " in out
    assert "of which 1 is a crowd; 2 errors:" in out
    for name in ("image_000.png", "image_001.png"):
        assert f"{name}  unreadable_image  image dropped  it is 60×40 pixels but annotated as 61×40" in out
    assert "new head" in out
    assert [fault["name"] for fault in kept["faults"]]
    assert sum(kept["crowds"].values()) == 1
