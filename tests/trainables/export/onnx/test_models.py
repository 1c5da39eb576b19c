"""Every kind of model and every adapter becomes an ONNX file whose card holds what it says.

All are tried in `make test-exhaustive`, a few of them in `make test-slow`.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from onnx_models import MODELS, trained_model_of

from docs.generate_onnx import FILE, names, row_of
from tests.support.onnx_cards import check_card
from trainables.export.card_facts import Card
from trainables.export.onnx.write import export_onnx

SLOW = ["detr", "dinov3_vit", "segformer", "eomt"]
"""One of each way in which sizes and outputs differ, and that are traced in little time."""
ROWS = [name for name in names() if not name.startswith("model ")]
SAMPLE = random.Random(15).sample(ROWS, 3)


def _marked(kinds: list[str], few: list[str]) -> list[Any]:
    slow, long = pytest.mark.slow, pytest.mark.exhaustive
    return [pytest.param(kind, marks=slow if kind in few else long) for kind in kinds]


@pytest.mark.parametrize("kind", _marked(list(MODELS), SLOW))
def test_every_kind_of_model(kind: str, tmp_path: Path) -> None:
    model = trained_model_of(kind, tmp_path / "base", {"adapter": "lora"})
    card = Card(kind, metrics={"score_threshold": 0.01})
    result = export_onnx(model, tmp_path / "out", merge=False, external_data=False, card=card)
    check_card(model, result, tmp_path, threshold=0.01)
    assert result.merged is True
    sides = "any" if result.free_sizes else "one"
    shown, _, also = kind.partition(", ")
    assert f"| `{shown}`{', ' + also if also else ''} | yes | {sides} |" in FILE.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", _marked(ROWS, SAMPLE))
def test_every_adapter_and_method(name: str) -> None:
    row = row_of(name)
    what, shown = name.split(" ", 1)
    lines = [
        line
        for line in FILE.read_text(encoding="utf-8").splitlines()
        if line.startswith(f"| `{shown.split(' ')[0]}` | ")
    ]
    said = [cell.strip() for cell in lines[-1 if what == "method" else 0].split("|")]
    assert row.exports == said[4 if name.endswith("detection") else 2], row.error
