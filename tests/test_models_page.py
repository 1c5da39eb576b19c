"""docs/reference/models.md is what `python -m docs.generate_models` makes, and has every family."""

from __future__ import annotations

import re

import pytest
import transformers

from docs.generate_models import DETECTORS, FILE, SEGMENTERS, page
from trainables.tasks.detectors import DETECTOR_FAMILIES
from trainables.tasks.segmenters.registry import SEGMENTER_FAMILIES
from trainables.tasks.segmenters.vits import VIT_FAMILIES


@pytest.fixture(scope="module")
def text() -> str:
    return FILE.read_text(encoding="utf-8")


def test_it_is_what_the_program_makes(text: str) -> None:
    assert text == page(), "run `python -m docs.generate_models`"


def test_it_has_every_family_and_the_installed_version(text: str) -> None:
    assert list(DETECTORS) == list(DETECTOR_FAMILIES)
    assert list(SEGMENTERS) == [*VIT_FAMILIES, *SEGMENTER_FAMILIES]
    rows = re.findall(r"^\| `([\w-]+)` \|", text, re.M)
    assert [row for row in rows if row != "model_type"] == [*DETECTORS, *SEGMENTERS]
    assert f"transformers {transformers.__version__}" in text
