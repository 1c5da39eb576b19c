"""Every detector family learns eight images by heart in `full`, and what is exported scores the same.

A model whose boxes, labels or losses were wrong could not. The models are tiny and random, see
`tests/support/saved_detectors.py`; the whole list is exhaustive, a sample of it slow.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, ImageDraw
from transformers import ResNetConfig

from tests.support.contracts import scores_of_merged_export
from tests.support.saved_detectors import KINDS, SIDE, resnet_pyramid, save_detector
from trainables.preparation import prepare_workload
from trainables.specs.data import Split
from trainables.specs.trial import Precision, TrialConfig
from trainables.specs.workload import Workload
from trainables.training.engine import Engine
from trainables.training.state import TrialState

IMAGES = 8
ENOUGH = 0.9
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Recipe:
    """How a family is trained. changes: of its config."""

    epochs: int = 600
    rate: float = 2e-3
    clip: float = 0.5
    changes: dict[str, Any] = field(default_factory=dict)


def _finer() -> dict[str, Any]:
    """A backbone with a finer map, for models that have one map only."""
    resnet = ResNetConfig(
        embedding_size=16, hidden_sizes=[16, 16, 32, 32], depths=[1, 1, 1, 1], layer_type="basic",
        out_features=["stage2"],
    )  # fmt: skip
    return {"dropout": 0.0, "backbone_config": resnet}


RECIPES = {
    "detr": Recipe(epochs=2000, clip=0.1, changes=_finer()),
    "table-transformer": Recipe(epochs=2000, clip=0.1, changes=_finer()),
    "conditional_detr": Recipe(epochs=1500, clip=0.1, changes=_finer()),
    "dab-detr": Recipe(epochs=1500, changes={"dropout": 0.0}),
    "deformable_detr": Recipe(epochs=2000),
    # So small an HGNet gives maps that are nearly empty.
    "d_fine": Recipe(rate=1e-3, changes={"backbone_config": resnet_pyramid()}),
    "deimv2": Recipe(rate=1e-3, changes={"backbone_config": resnet_pyramid()}),
}
SAMPLE = ("deformable_detr, two-stage", "lw_detr")


def scenes(folder: Path) -> dict[str, str]:
    """A COCO part with one or two red and blue rectangles in each image."""
    draw = random.Random(0)
    (folder / "images").mkdir(parents=True)
    images: list[dict[str, Any]] = []
    objects: list[dict[str, Any]] = []
    for number in range(IMAGES):
        picture = Image.new("RGB", (SIDE, SIDE), (20, 20, 20))
        pen = ImageDraw.Draw(picture)
        images.append({"id": number + 1, "file_name": f"{number}.png", "width": SIDE, "height": SIDE})
        for place in range(1 + number % 2):
            width, height = draw.choice([16, 20, 24]), draw.choice([16, 20, 24])
            left, top = 32 * place + draw.randrange(0, 8), draw.randrange(0, SIDE - height)
            kind = (number + place) % 2
            colour = ((230, 60, 60), (60, 90, 230))[kind]
            pen.rectangle((left, top, left + width - 1, top + height - 1), fill=colour)
            box = {"bbox": [left, top, width, height], "area": width * height, "iscrowd": 0}
            objects.append({"id": len(objects) + 1, "image_id": number + 1, "category_id": kind + 1, **box})
        picture.save(folder / "images" / f"{number}.png")
    names = [{"id": 1, "name": "red"}, {"id": 2, "name": "blue"}]
    document = {"images": images, "annotations": objects, "categories": names}
    (folder / "boxes.json").write_text(json.dumps(document))
    return {"images": str(folder / "images"), "annotations": str(folder / "boxes.json")}


def score(engine: Engine, state: TrialState) -> dict[str, float]:
    with torch.inference_mode():
        return engine.task.evaluate(
            state.model.eval(), engine.data.splits[Split.VALIDATION], batch_size=IMAGES, device=CPU,
            precision=Precision.FP32, config=state.config,
        )  # fmt: skip


def check(tmp_path: Path, kind: str) -> None:
    recipe = RECIPES.get(kind, Recipe())
    folder = save_detector(tmp_path / "model", kind, **recipe.changes)
    asked = {
        "task": "detection",
        "model": {"name": str(folder), "image_size": [SIDE, SIDE]},
        "objective": {"metric": "map_50"},
        "data": {
            "coco": {"train": scenes(tmp_path / "train"), "validation": scenes(tmp_path / "validation")},
            "splits": {"train": 0.9, "validation": 0.1, "test": 0},
        },
    }
    workload = Workload.model_validate_json(json.dumps(asked))
    engine = Engine(workload, prepare_workload(workload), device="cpu")
    settings = {
        "adapter": "none", "freezing": "full", "epochs": recipe.epochs, "batch_size": IMAGES,
        "learning_rate": recipe.rate, "clip_norm": recipe.clip, "weight_decay": 0.0,
    }  # fmt: skip
    config = TrialConfig.model_validate_json(json.dumps(settings))
    state = engine.start(config)
    found: dict[str, float] = {}
    while not state.done and found.get("map_50", 0.0) < ENOUGH:
        until = state.step + 50
        while not state.done and state.step < until:  # every epoch is one step, and has a report
            found = next(report for _, report in engine.advance([state])).metrics
    assert found["map_50"] >= ENOUGH

    _, exported = scores_of_merged_export(
        engine, state, tmp_path / "exported", Split.VALIDATION, batch_size=IMAGES
    )
    assert exported == pytest.approx(score(engine, state), rel=1e-4)


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    monkeypatch.setenv("ADAPTERTUNE_CACHE", str(tmp_path / "cache"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", SAMPLE)
def test_some_families_learn_eight_images_by_heart(tmp_path: Path, kind: str) -> None:
    check(tmp_path, kind)


@pytest.mark.exhaustive
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in SAMPLE])
def test_every_other_family_learns_eight_images_by_heart(tmp_path: Path, kind: str) -> None:
    check(tmp_path, kind)
