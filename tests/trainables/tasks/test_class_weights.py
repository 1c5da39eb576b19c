from __future__ import annotations

from pathlib import Path

import pytest
import torch
from saved_detectors import save_detector
from saved_models import save_yolos

from trainables.errors import ModelError
from trainables.specs.trial import TrialConfig
from trainables.specs.workload import ModelSpec
from trainables.tasks.class_weights import label_weights, loss_weights
from trainables.tasks.detection import DetectionTask, load_detector

CPU = torch.device("cpu")


def detector(path: Path, classes: tuple[str, ...]) -> DetectionTask:
    return load_detector(ModelSpec(name=str(path)), classes, CPU)


def weighted(**weights: float) -> TrialConfig:
    return TrialConfig(loss_weights=weights)


def test_classes_without_a_name_weigh_one() -> None:
    found = loss_weights(weighted(dog=3.0), ("cat", "dog"), CPU)
    assert found is not None
    assert found.tolist() == [1.0, 3.0]
    assert loss_weights(TrialConfig(), ("cat", "dog"), CPU) is None


def test_an_unknown_class_is_refused_with_the_one_that_was_meant() -> None:
    with pytest.raises(ModelError, match=r"loss_weights: there is no class 'dgo'; did you mean 'dog'\?"):
        loss_weights(weighted(dgo=3.0), ("cat", "dog"), CPU)


def test_weights_follow_the_checkpoints_labels(tmp_path: Path) -> None:
    names = {"id2label": {0: "dog", 1: "cow", 2: "cat"}, "label2id": {"dog": 0, "cow": 1, "cat": 2}}
    kept = detector(save_yolos(tmp_path / "kept", **names), ("cat", "dog"))
    found = label_weights(kept, weighted(cat=4.0))
    assert found is not None
    assert found.tolist() == [1.0, 1.0, 4.0]
    new = detector(tmp_path / "kept", ("hen", "sheep"))
    found = label_weights(new, weighted(sheep=0.5))
    assert found is not None
    assert found.tolist() == [1.0, 0.5]


def test_a_loss_of_transformers_takes_no_weights(tmp_path: Path) -> None:
    task = detector(save_detector(tmp_path / "model", "rt_detr"), ("hen", "sheep"))
    with pytest.raises(ModelError, match="the loss of rt_detr is that of transformers"):
        task.assemble(weighted(hen=2.0), share=True)
    assert label_weights(task, TrialConfig()) is None
