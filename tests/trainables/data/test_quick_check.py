from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from data_makers import coco_folder, mask_folder, workload

from trainables.data import quick_check
from trainables.data.files.coco_file import CocoFile, load_coco_file
from trainables.data.quick_check import quick_look
from trainables.specs.workload import ModelSpec, Task

CLASSES = ["background", "cell"]


def coco(tmp_path: Path, **more: Any) -> dict[str, Any]:
    return {"coco": {"train": coco_folder(tmp_path / "train", 4)} | more}


def changed(part: dict[str, str], edit: Any) -> dict[str, str]:
    file = json.loads(Path(part["annotations"]).read_text())
    edit(file)
    Path(part["annotations"]).write_text(json.dumps(file))
    return part


def test_sound_data_have_no_faults(tmp_path: Path) -> None:
    asked = workload(Task.DETECTION, coco(tmp_path, test=coco_folder(tmp_path / "test", 2)))
    assert quick_look(asked).faults == ()
    assert quick_look(asked).classes == ("cat", "dog")
    masks = {"masks": {"train": mask_folder(tmp_path / "masks", 3), "classes": CLASSES}}
    assert quick_look(workload(Task.SEGMENTATION, masks)).faults == ()
    assert quick_look(workload(Task.DETECTION, {"embedded": {}})).faults == ()


def test_all_faults_are_found_at_once(tmp_path: Path) -> None:
    validation = changed(coco_folder(tmp_path / "b", 2), lambda f: f["categories"][0].update(name="DOG"))
    test = changed(coco_folder(tmp_path / "c", 2), lambda f: f["images"][0].update(file_name="image_00.PNG"))
    data = coco(tmp_path, validation=validation, test=test)
    data["domains"] = {"other": {"coco": {"images": str(tmp_path / "none"), "annotations": "none.json"}}}
    found = dict(quick_look(workload(Task.DETECTION, data)).faults)
    assert found.keys() == {"data.coco", "data.coco.test", "data.domains.other"}
    assert "did you mean 'dog'?" in found["data.coco"]
    assert "such as image_00.PNG; did you mean" in found["data.coco.test"]
    assert "must be a folder, but there is none" in found["data.domains.other"]


def test_a_domain_with_another_class(tmp_path: Path) -> None:
    other = changed(coco_folder(tmp_path / "b", 2), lambda f: f["categories"][0].update(name="bird"))
    data = coco(tmp_path) | {"domains": {"other": {"coco": other}}}
    ((key, reason),) = quick_look(workload(Task.DETECTION, data)).faults
    assert key == "data.domains.other"
    assert "the model has no class 'bird'" in reason


def test_masks_of_other_names_or_values(tmp_path: Path) -> None:
    part = mask_folder(tmp_path / "a", 4)
    for path in list(Path(part["masks"]).iterdir()):
        path.rename(path.with_name(f"{path.stem}_seg.png"))
    source: dict[str, Any] = {"train": part, "classes": CLASSES}
    ((_, reason),) = quick_look(workload(Task.SEGMENTATION, {"masks": source})).faults
    assert reason.startswith("4 images without a mask of the same name")
    assert reason.endswith("set data.masks.suffix: _seg")
    source |= {"suffix": "_seg", "values": [0, 255]}
    ((_, reason),) = quick_look(workload(Task.SEGMENTATION, {"masks": source})).faults
    assert "values without a class: 1" in reason


@pytest.mark.parametrize(("made", "words"), [(False, "no folder"), (True, "has no config.json")])
def test_a_model_folder_is_looked_at(tmp_path: Path, made: bool, words: str) -> None:
    if made:
        (tmp_path / "model").mkdir()
    asked = workload(Task.DETECTION, coco(tmp_path))
    asked = asked.model_copy(update={"model": ModelSpec(name=str(tmp_path / "model"))})
    ((key, reason),) = quick_look(asked).faults
    assert key == "model.name"
    assert words in reason


def test_a_hub_id_is_not_looked_up(tmp_path: Path) -> None:
    asked = workload(Task.DETECTION, {"hub": {"path": "someone/something"}})
    assert quick_look(asked.model_copy(update={"model": ModelSpec(name="hustvl/yolos-small")})).faults == ()
    ((key, _),) = quick_look(workload(Task.DETECTION, {"hub": {"path": str(tmp_path / "none")}})).faults
    assert key == "data.hub.path"


def test_each_coco_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = workload(Task.DETECTION, coco(tmp_path, test=coco_folder(tmp_path / "test", 2)))
    read: list[str] = []

    def load(path: str, *, shapes: bool) -> CocoFile:
        read.append(path)
        return load_coco_file(path, shapes=shapes)

    monkeypatch.setattr(quick_check, "load_coco_file", load)
    assert quick_look(asked).classes == ("cat", "dog")
    assert len(read) == len(set(read)) == 2


def test_classes_are_not_known_if_a_file_is_too_large_to_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = coco_folder(tmp_path / "test", 2)
    asked = workload(Task.DETECTION, coco(tmp_path, test=small))
    monkeypatch.setattr(quick_check, "LARGEST_FILE", Path(small["annotations"]).stat().st_size)
    look = quick_look(asked)
    assert (look.faults, look.classes) == ((), ())
