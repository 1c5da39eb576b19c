from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from saved_models import save_vit, save_yolos

from trainables.errors import ModelError
from trainables.inspection.class_names import checkpoint_labels, map_classes
from trainables.specs.workload import ModelSpec, Task
from trainables.tasks.detection import load_detector


def labels(*names: str) -> dict[str, object]:
    return {"id2label": dict(enumerate(names)), "label2id": {n: i for i, n in enumerate(names)}}


@pytest.mark.parametrize(
    ("classes", "refused", "verdict"),
    [
        (("cat", "dog"), False, "the checkpoint's head is kept: it knows all 2 classes"),
        (("dog",), False, "the checkpoint's head is kept: it knows all 1 class, among 2"),
        (("cow", "hen"), False, "the head is new: the checkpoint knows none of the 2 classes"),
        (("cat", "cow"), True, "training refuses this: the checkpoint knows 1 of 2 classes, but lacks 'cow'"),
        (
            ("Cat",),
            True,
            "training refuses this: the checkpoint knows classes by another spelling ('Cat' for",
        ),
    ],
)
def test_a_detectors_head_as_training_finds_it(
    tmp_path: Path, classes: tuple[str, ...], refused: bool, verdict: str
) -> None:
    spec = ModelSpec(name=str(save_yolos(tmp_path, **labels("cat", "dog"))))
    mapping = map_classes(spec, Task.DETECTION, classes)
    assert mapping.verdict.startswith(verdict)
    assert mapping.refused is refused
    if not refused:
        task = load_detector(spec, classes, torch.device("cpu"))
        known = None if task.ids is None else task.ids.tolist()
        mapped = [m.label for m in mapping.matches]
        assert known == (mapped if None not in mapped else None)
    elif classes == ("cat", "cow"):
        with pytest.raises(ModelError):
            load_detector(spec, classes, torch.device("cpu"))
    else:
        assert load_detector(spec, classes, torch.device("cpu")).head_fault is not None


def test_a_label_that_two_outputs_have_is_not_known(tmp_path: Path) -> None:
    spec = ModelSpec(name=str(save_yolos(tmp_path, id2label={0: "cat", 1: "cat"}, label2id={"cat": 1})))
    mapping = map_classes(spec, Task.DETECTION, ["cat"])
    assert mapping.matches[0].label is None
    assert not mapping.refused
    assert mapping.verdict == "the head is new: the checkpoint has several labels 'cat'"


def test_a_near_label_is_named(tmp_path: Path) -> None:
    spec = ModelSpec(name=str(save_yolos(tmp_path, **labels("bicycle", "dog"))))
    assert map_classes(spec, Task.DETECTION, ["bycicle"]).matches[0].near == "bicycle"


def test_a_new_head_is_never_refused(tmp_path: Path) -> None:
    spec = ModelSpec(name=str(save_yolos(tmp_path, **labels("cat", "dog"))), new_head=True)
    mapping = map_classes(spec, Task.DETECTION, ["cat", "cow"])
    assert not mapping.refused
    assert "model.new_head is set" in mapping.verdict


def test_a_segmenters_head_is_the_one_next_to_it(tmp_path: Path) -> None:
    spec = ModelSpec(name=str(save_vit(tmp_path)))
    assert checkpoint_labels(spec, Task.SEGMENTATION) == ()
    none = map_classes(spec, Task.SEGMENTATION, ["background", "cell"])
    assert none.verdict == "the checkpoint has no head for this task, so the head is new"
    (tmp_path / "head.json").write_text(json.dumps({"classes": ["background", "cell"]}))
    assert map_classes(spec, Task.SEGMENTATION, ["cell", "background"]).matches[0].label == 1
    # Some known classes do not refuse a mask's head, but a spelling does.
    assert not map_classes(spec, Task.SEGMENTATION, ["background", "vessel"]).refused
    assert map_classes(spec, Task.SEGMENTATION, ["background", "CELL"]).refused


def test_the_embedded_models() -> None:
    assert len(checkpoint_labels(ModelSpec(), Task.DETECTION)) == 10
    assert checkpoint_labels(ModelSpec(), Task.SEGMENTATION)[0] == "background"


def test_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot read its config"):
        map_classes(ModelSpec(name=str(tmp_path)), Task.DETECTION, ["cat"])
