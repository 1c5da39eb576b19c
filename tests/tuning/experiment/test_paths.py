from __future__ import annotations

from pathlib import Path

import pytest

from tuning.experiment.load import load_experiment
from tuning.experiment.moved_data import data_paths


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
