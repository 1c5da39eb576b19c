"""Every kind of segmenter learns eight images by heart, and its merged export scores the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from saved_models import OWN_HEADS, save_own_head
from segmenters import SAVED, SCENE, SCENE_CLASSES, scene_engine, settings

from trainables.export.card import Card
from trainables.export.write import export_model
from trainables.inference.trained_model import TrainedModel
from trainables.specs.adapters import Adapter
from trainables.specs.data import Split
from trainables.specs.heads import HeadSource
from trainables.tasks.registry import load_task

RATES = {"segformer": 2e-2}
FEW = ("dinov3_vit",)
"""What `make test` has time for."""


@pytest.mark.parametrize("kind", FEW)
def test_overfits_eight_images(tmp_path: Path, kind: str) -> None:
    check(tmp_path, kind)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in SAVED if kind not in FEW])
def test_every_other_kind_overfits_eight_images(tmp_path: Path, kind: str) -> None:
    check(tmp_path, kind)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["vit", "siglip"])
@pytest.mark.parametrize("head", ["linear", "multiscale"])
def test_every_other_head_overfits_eight_images(tmp_path: Path, kind: str, head: str) -> None:
    check(tmp_path, kind, head={"kind": head})


def check(folder: Path, kind: str, **more: Any) -> None:
    if kind in OWN_HEADS:  # EoMT takes images of its config's size only
        sized = {"image_size": SCENE} if kind.startswith("eomt") else {}
        saved, model = save_own_head(folder / "model", kind, side=SCENE, **sized), {}
    else:
        saved, model = SAVED[kind](folder / "model"), {"image_size": [SCENE, SCENE]}
    engine = scene_engine(saved, folder / "data", **model)
    given = {"epochs": 80, "batch_size": 8, "learning_rate": RATES.get(kind, 5e-3)} | more
    asked = settings(Adapter.NONE, "full", **given)
    state = engine.start(asked)
    while not state.done:
        list(engine.advance([state]))
    scored = engine.evaluate(state.model.eval(), asked, Split.TRAIN)
    assert scored["dice"] >= 0.9

    trained = TrainedModel(
        engine.workload, asked, SCENE_CLASSES, engine.task, state.model, state.adapted, state.parts
    )
    result = export_model(trained, folder / "export", merge=True, card=Card("by heart"))
    spec = engine.workload.model.model_copy(update={"name": str(result.folder)})
    workload = engine.workload.model_copy(update={"model": spec})
    again = load_task(workload, SCENE_CLASSES, torch.device("cpu"))
    assert again.head_source(asked) is HeadSource.KEPT
    split = engine.data.splits[Split.TRAIN]
    with torch.inference_mode():
        found = again.evaluate(
            again.assemble(asked, share=True),
            split,
            batch_size=32,
            device=torch.device("cpu"),
            precision=asked.precision,
            config=asked,
        )
    assert found == pytest.approx(scored, abs=1e-4)
