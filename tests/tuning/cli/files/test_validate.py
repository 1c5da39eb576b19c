from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from data_makers import coco_folder
from typer.testing import Result


def test_what_may_end_the_search_is_said(run: Callable[..., Result]) -> None:
    sets = ("search.epochs=60", "search.stop.after=10", "search.stop.gain=0.01")
    out = run("validate", "quickstart", *(f"--set={each}" for each in sets)).stdout
    assert (
        "24 trials of at most 6 epochs, and 60 epochs in all; the search stops by itself after 10 trials"
        " without a gain above 0.01\n"
    ) in out


def test_a_valid_file_is_summarized(run: Callable[..., Result]) -> None:
    out = run("validate", "quickstart").stdout
    assert out.startswith("quickstart: valid. segmentation with ")
    assert "parameters" in out


def test_a_wrong_file_is_a_message(run: Callable[..., Result], tmp_path: Path) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text("name: x\ntask: segmentation\nobjective: {metric: dice}\nspcae: {}\n")
    for command in ("validate", "launch", "train"):
        assert "spcae" in run(command, str(file), code=2).stderr
    for command in ("validate", "launch", "train"):
        run(command, str(tmp_path / "absent.yaml"), code=2)


def test_validate_looks_at_files_and_class_names(run: Callable[..., Result], tmp_path: Path) -> None:
    part = coco_folder(tmp_path, 3)
    file = tmp_path / "pets.yaml"

    def write(metric: str) -> None:
        data = json.dumps({"coco": {"train": part}})
        file.write_text(
            f"name: pets\ntask: detection\nobjective: {{metric: {metric}}}\ndata: {data}\n"
            "trial: {adapter: lora, epochs: 1}\n"
        )

    write("map/cat")
    assert "valid" in run("validate", str(file)).stdout
    write("map/cats")
    assert "there is no class 'cats'; did you mean 'cat'?" in run("validate", str(file), code=2).stderr
    Path(part["annotations"]).unlink()
    said = run("validate", str(file), code=2).stderr
    assert "data.coco.train  annotations must be a COCO JSON file" in said


def test_validate_says_what_lies_in_a_folder(run: Callable[..., Result], tmp_path: Path) -> None:
    part = coco_folder(tmp_path / "pets", 3)
    file = tmp_path / "pets.yaml"
    file.write_text(
        "name: pets\ntask: detection\nobjective: {metric: map/cat}\ndata: {folder: pets}\n"
        "trial: {adapter: lora, epochs: 1}\n"
    )
    assert "data.folder: COCO JSON: train annotations_0.json\n" in run("validate", str(file)).stdout
    Path(part["annotations"]).unlink()
    said = run("validate", str(file), code=2).stderr
    assert f"data.folder  {tmp_path / 'pets'} must hold COCO JSON, a YOLO data.yaml," in said
    assert "it holds 3 .png in 1 folder (images)" in said


SEARCHED = """\
name: pets
task: segmentation
objective: {metric: dice}
space: {learning_rate: {float: [1e-4, 1e-2], log: true}}
"""


def test_validate_rehearses_a_sampler_of_optuna(run: Callable[..., Result], tmp_path: Path) -> None:
    file = tmp_path / "pets.yaml"
    file.write_text(SEARCHED + "search:\n  trials: 12\n  optuna: {sampler: NSGAIIISampler}\n")
    assert "valid" in run("validate", str(file)).stdout
    said = run("validate", str(file), "--set", "search.optuna.sampler=NSGASampler", code=2).stderr
    assert f"{file}: 1 error\n  line 7  search.optuna.sampler  must be a sampler of Optuna" in said
    file.write_text(
        SEARCHED + "search:\n  trials: 12\n  optuna:\n    sampler: TPESampler\n    arguments: {gama: 3}\n"
    )
    for command in (("validate",), ("launch", "--dry-run"), ("launch",)):
        said = run(*command, str(file), code=2).stderr
        assert "search.optuna.arguments.gama  is no argument of TPESampler" in said


def test_validate_says_where_a_search_stays_random(run: Callable[..., Result], tmp_path: Path) -> None:
    file = tmp_path / "pets.yaml"
    file.write_text(SEARCHED + "search: {trials: 12, nsga2: {}}\n")
    out = run("validate", str(file)).stdout
    assert "search.nsga2 learns from 20 trials at a time, and the search has 12" in out


def test_a_size_that_the_model_does_not_take_is_said(run: Callable[..., Result], tmp_path: Path) -> None:
    file = tmp_path / "sized.yaml"
    text = (
        "name: sized\ntask: segmentation\nobjective: {metric: dice}\ntrial: {epochs: 9}\n"
        "space: {lora.rank: {choice: [4, 8]}}\nsearch: {grid: {}}\n"
        "scheduler: {asha: {fidelity: {resolution: [SIDE, 64]}}}\n"
    )
    file.write_text(text.replace("SIDE", "32"))
    assert "valid" in run("validate", str(file)).stdout
    file.write_text(text.replace("SIDE", "20"))
    said = " ".join(run("validate", str(file), code=2).stderr.split())
    assert "scheduler.asha.fidelity: images of [20, 20] pixels" in said
    assert "sides must be multiples of the patch" in said
