"""With the processors that real checkpoints have: sizes, exports, and predictions for photos of any shape."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from saved_models import LARGE, OWN_HEADS, SIDE, save_own_head, save_vit
from segmenters import SCENE_CLASSES, scenes, settings, slow_but
from transformers import (
    BeitImageProcessorPil,
    EomtImageProcessorPil,
    Mask2FormerImageProcessorPil,
    SegformerImageProcessorPil,
)

from tests.trainables.tasks.conftest import load as loaded
from trainables.data.resize import Interpolation, Resize
from trainables.export.card_facts import Card
from trainables.export.use import load, processor
from trainables.export.write import export_model
from trainables.inference.predict import Mask, predict_image
from trainables.inference.trained_model import TrainedModel
from trainables.packing.pack import PackEngine
from trainables.preparation import prepare_workload
from trainables.specs.adapters import Adapter
from trainables.specs.report import Report
from trainables.specs.workload import Task, Workload
from trainables.training.engine import Engine

EDGES = {"shortest_edge": LARGE, "longest_edge": 2 * LARGE}
PROCESSORS: dict[str, Callable[[], Any]] = {
    "segformer": lambda: SegformerImageProcessorPil(size={"height": LARGE, "width": LARGE}),
    "mask2former": lambda: Mask2FormerImageProcessorPil(size=EDGES, size_divisor=32),
    "eomt": lambda: EomtImageProcessorPil(
        size={"shortest_edge": SIDE, "longest_edge": SIDE}, do_pad=True, do_split_image=True
    ),
    "eomt_dinov3": lambda: EomtImageProcessorPil(size={"shortest_edge": SIDE, "longest_edge": SIDE}),
}
TAKES = {
    "segformer": Resize.fixed(LARGE, LARGE),
    "mask2former": Resize.edges(LARGE, 2 * LARGE, multiple_of=32),
    "eomt": Resize.fixed(SIDE, SIDE),
    "eomt_dinov3": Resize.fixed(SIDE, SIDE),
}


def _engine(folder: Path, kind: str) -> Engine:
    """Over scenes of several shapes."""
    save_own_head(folder / "model", kind)
    PROCESSORS[kind]().save_pretrained(folder / "model")
    data = scenes(folder / "data")
    for part in ("train", "validation"):
        for number, path in enumerate(sorted(Path(data[part]["images"]).iterdir())):
            size = ((64, 64), (96, 64), (64, 96))[number % 3]
            for held in (path, Path(data[part]["masks"]) / path.name):
                Image.open(held).resize(size, Image.Resampling.NEAREST).save(held)
    asked = {
        "task": "segmentation",
        "model": {"name": str(folder / "model"), "new_head": True},
        "objective": {"metric": "dice"},
        "data": {"masks": data},
    }
    workload = Workload.model_validate_json(json.dumps(asked))
    return Engine(workload, prepare_workload(workload), device="cpu")


@pytest.mark.parametrize("kind", slow_but(["segformer", "eomt"], OWN_HEADS))
def test_trains_and_leaves_with_its_processor(tmp_path: Path, kind: str) -> None:
    made = _engine(tmp_path, kind)
    assert made.task.resize == TAKES[kind]
    asked = settings(Adapter.LORA, "frozen")
    state = made.start(asked)
    list(made.advance([state], steps=2))
    assert state.best.value is None or np.isfinite(state.best.value)
    trained = TrainedModel(
        made.workload, asked, SCENE_CLASSES, made.task, state.model.eval(), state.adapted, state.parts
    )
    export_model(trained, tmp_path / "out", merge=False, card=Card("x"))
    assert (tmp_path / "out" / "classes.json").exists()
    photo = Image.open(next(iter(sorted((tmp_path / "data" / "train" / "images").iterdir())[1:])))
    inputs = processor(tmp_path / "out")(images=[photo], return_tensors="pt")["pixel_values"]
    assert tuple(inputs.shape[-2:]) == made.task.resize.target(photo.height, photo.width)
    with torch.inference_mode():
        scores = load(tmp_path / "out")(inputs)
    assert scores.shape == (1, 3, *inputs.shape[-2:])
    by_hand = _by_hand(tmp_path / "out")
    with torch.inference_mode():
        size = {"size": {"shortest_edge": SIDE, "longest_edge": SIDE}} if kind.startswith("eomt") else {}
        (classes,) = processor(tmp_path / "out").post_process_semantic_segmentation(
            by_hand(inputs), target_sizes=[tuple(inputs.shape[-2:])], **size
        )
        assert torch.equal(classes, scores[0].argmax(0))
        assert torch.equal(made.task.family.scores(by_hand(inputs), tuple(inputs.shape[-2:])), scores)
    predicted = predict_image(trained, photo)
    assert isinstance(predicted, Mask)
    assert predicted.mask.shape == (photo.height, photo.width)
    resized = torch.nn.functional.interpolate(scores, size=(photo.height, photo.width), mode="bilinear")
    same = resized[0].argmax(0).numpy() == predicted.mask
    assert same.mean() > 0.95, "but for pixels that a resize of other libraries turns"


def _by_hand(folder: Path) -> Any:
    """The model as the card loads it, without `use.py`."""
    code = (folder / "README.md").read_text().split("Or without `use.py`")[1]
    names: dict[str, Any] = {}
    exec(code.split("```python\n")[1].split("```")[0].replace("path/to/this/folder", str(folder)), names)
    return names["model"]


@pytest.mark.parametrize("kind", slow_but(["segformer"], OWN_HEADS))
def test_trials_step_alone(tmp_path: Path, kind: str) -> None:
    made = _engine(tmp_path, kind)
    states = [made.start(settings(Adapter.LORA, "frozen", seed=seed)) for seed in (0, 1)]
    pack = PackEngine(made)
    reports = [found for _, found in pack.advance(states)]
    assert [report.lanes for report in reports if isinstance(report, Report)] == [1, 1]
    assert pack.bytes_of_lane(states[0]) is None


def test_a_beit_that_cuts_the_centre_takes_the_whole_image(tmp_path: Path) -> None:
    folder = save_vit(tmp_path, "beit")
    given = {"do_center_crop": True, "crop_size": {"height": SIDE, "width": SIDE}}
    BeitImageProcessorPil(size={"height": 40, "width": 40}, **given).save_pretrained(folder)
    assert loaded(Task.SEGMENTATION, str(folder), ("a", "b")).resize == Resize.fixed(SIDE, SIDE).by(
        Interpolation.BICUBIC
    )
