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
    assert "--from takes a trial" in run("train", "--from", "digits", code=2).stderr


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
    kept |= {"definitions.json"}
    assert "floor of dice, what the best constant prediction reaches: 0." in out
    held = json.loads((into / "definitions.json").read_text())
    assert held["definitions"]["dice"] == 2
    assert held["floors"].keys() == {"validation", "test"}
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
        f"data: {{folder: {storage / 'pets'}}}\n"
        "trial: {adapter: none, epochs: 1, freezing: head_only}\n"
    )
    into = storage / "into-pets"
    out = run("train", str(file), "--into", str(into)).stdout
    kept = json.loads((into / "data.json").read_text())
    counts = ", ".join(f"{n} {split}" for split, n in kept["counts"].items())
    assert "data.folder: COCO JSON: train annotations_0.json" in out
    assert kept["found"] == "COCO JSON: train annotations_0.json"
    assert f"data ready: {counts}; boxes: " in out
    assert "of which 1 is a crowd; 2 errors:" in out
    for name in ("image_000.png", "image_001.png"):
        assert f"{name}  unreadable_image  image dropped  it is 60×40 pixels but annotated as 61×40" in out
    assert "new head" in out
    assert [fault["name"] for fault in kept["faults"]]
    assert sum(kept["crowds"].values()) == 1


def test_a_run_that_faults_stop_leaves_no_folder(run: Callable[..., Result], storage: Path) -> None:
    file = storage / "one.yaml"
    file.write_text(
        "name: one\ntask: segmentation\nobjective: {metric: dice}\n"
        f"data: {{masks: {{folder: {storage / 'absent'}}}}}\ntrial: {{adapter: lora, epochs: 1}}\n"
    )
    there = storage / "mine"
    there.mkdir()
    for into in ([], ["--into", str(storage / "new" / "into")], ["--into", str(there)]):
        run("train", str(file), *into, code=2)
    assert not (storage / "trained").exists()
    assert not (storage / "new").exists()
    assert not list(there.iterdir())  # it was there before, so it stays


@pytest.mark.parametrize("command", [("train",), ("launch", "--dry-run")], ids=["train", "dry run"])
@pytest.mark.parametrize(
    ("metric", "reason"),
    [
        ("map_large", "validation has no large box"),
        ("mar_large/3@soft", "validation of domain soft has no large box of class 3"),
    ],
)
def test_an_objective_without_a_value_is_refused_before_training(
    run: Callable[..., Result], storage: Path, command: tuple[str, ...], metric: str, reason: str
) -> None:
    """Scenes of digits have 64 by 64 pixels; a large box has more than 96 by 96."""
    file = storage / "large.yaml"
    space = (
        "space:\n  learning_rate: {choice: [0.1, 0.2]}\nsearch: {trials: 2}\n" if "launch" in command else ""
    )
    file.write_text(
        f"name: large\ntask: detection\nobjective: {{metric: {metric}}}\n"
        "data:\n  embedded: {train: 4, validation: 4, test: 2}\n"
        "  domains: {soft: {corruption: {kind: blur}}}\n"
        f"trial: {{epochs: 1}}\n{space}"
    )
    done = run(command[0], str(file), *command[1:], code=2)
    assert f"objective.metric {metric}: {reason}" in " ".join(done.stderr.split())
    assert "epoch 1" not in done.stdout
