"""Every kind of segmenter learns eight images by heart, and its merged export scores the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from saved_models import OWN_HEADS, save_own_head
from segmenters import SAVED, SCENE, scene_engine, settings

from tests.support.contracts import scores_of_merged_export
from trainables.specs.adapters import Adapter
from trainables.specs.data import Split
from trainables.specs.heads import HeadSource

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

    again, found = scores_of_merged_export(engine, state, folder / "export", Split.TRAIN, batch_size=32)
    assert again.head_source(asked) is HeadSource.KEPT
    assert found == pytest.approx(scored, abs=1e-4)
