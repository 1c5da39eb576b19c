"""docs/reference/onnx.md has the installed versions, and every kind of model, adapter and method."""

from __future__ import annotations

import re

import pytest

from docs.generate_onnx import FILE, names
from tests.support.onnx_models import MODELS
from trainables.adapters.families.passthrough import offered_methods
from trainables.export.onnx.trace import versions
from trainables.specs.adapters import Adapter
from trainables.specs.workload import Task
from trainables.tasks.detectors import DETECTOR_FAMILIES
from trainables.tasks.segmenters.registry import SEGMENTER_FAMILIES
from trainables.tasks.segmenters.vits import VIT_FAMILIES

STALE = "run `make docs-onnx`"


@pytest.fixture(scope="module")
def text() -> str:
    return FILE.read_text(encoding="utf-8")


def test_it_is_of_the_installed_versions(text: str) -> None:
    for name, version in versions().items():
        assert f"{name} {version.split('+')[0]}" in text, STALE


def test_it_has_every_kind_of_model(text: str) -> None:
    part = text.split("## Models")[1].split("## Adapters")[0]
    rows = re.findall(r"^\| `([\w-]+)`((?:, [^|]+)?) \| (yes|refused)", part, re.M)
    assert [f"{kind}{also}" for kind, also, _ in rows] == list(MODELS), STALE
    families = {*DETECTOR_FAMILIES, *VIT_FAMILIES, *SEGMENTER_FAMILIES}
    assert {kind for kind, _, _ in rows} == families, STALE
    assert {task for task, _ in MODELS.values()} == set(Task)


def test_it_has_every_adapter_and_every_method(text: str) -> None:
    adapters, methods = text.split("## Adapters")[1].split("## PEFT methods")
    rows = re.findall(r"^\| `(\w+)` \| (?:merged|beside|refused)", adapters, re.M)
    assert set(rows) == set(Adapter) - {Adapter.NONE, Adapter.PEFT}, STALE
    assert re.findall(r"^\| `(\w+)` \| (?:merged|beside|refused)", methods, re.M) == offered_methods(), STALE
    assert len(names()) == len(MODELS) + 2 * len(rows) + len(offered_methods())
