"""The boxes that transformers alone makes of an exported detector, as the page says, are `predict`'s."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from exporting import trained
from marks import slow
from PIL import Image

from tests.support.saved_detectors import KINDS, LABELS, MODERN, SIDE, save_detector
from trainables.export.card_facts import Card
from trainables.export.write import export_model
from trainables.inference.predict import Boxes, predict_image
from trainables.specs.workload import Task


def loader_in(folder: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("use_of_the_export", folder / "use.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("merge", [True, slow(False)], ids=["merged", "adapter"])
def test_boxes_of_the_processor_are_those_of_predict(tmp_path: Path, kind: str, merge: bool) -> None:
    base = save_detector(tmp_path / "base", kind)
    classes = tuple(LABELS.values())
    model = trained(Task.DETECTION, {"adapter": "lora", "targets": ["value"]}, classes, str(base))
    export_model(model, tmp_path / "out", merge=merge, card=Card(kind))
    # Of the size that the model sees, as Pillow and the processor of RF-DETR make images smaller differently.
    size = (SIDE, SIDE) if KINDS[kind][0] in MODERN else (48, 32)
    draw = np.random.default_rng(0)
    image = Image.fromarray(draw.integers(0, 256, (*size[::-1], 3), dtype=np.uint8))
    use: Any = loader_in(tmp_path / "out")
    prepare, loaded = use.processor(tmp_path / "out"), use.load(tmp_path / "out")
    with torch.inference_mode():
        outputs = loaded(**prepare(images=[image], return_tensors="pt"))
    found = prepare.post_process_object_detection(
        outputs, threshold=0.0, target_sizes=[(image.height, image.width)]
    )[0]
    ours = predict_image(model, image, threshold=0.0)
    assert isinstance(ours, Boxes)
    assert len(ours.found) == len(found["scores"]) > 0
    order = torch.argsort(found["scores"], descending=True)
    assert [box.score for box in ours.found] == pytest.approx(found["scores"][order].tolist(), abs=1e-5)
    theirs = np.clip(found["boxes"].numpy(), 0, [image.width, image.height] * 2)
    for box in ours.found[:3]:
        x, y, width, height = box.box
        corners = np.array([x, y, x + width, y + height])
        alike = np.abs(theirs - corners).max(axis=1) < 1e-2
        assert alike.any()
        assert {loaded.config.id2label[int(label)] for label in found["labels"][alike]} & {box.label}
