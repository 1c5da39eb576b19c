"""Sizes that a model does not take are refused before any training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.trainables.conftest import workload
from trainables.backbones import EMBEDDED
from trainables.errors import ModelError
from trainables.image_sizes import smaller_sizes
from trainables.specs.smaller_images import SmallerImages
from trainables.specs.workload import ModelSpec, Task, Workload

HALF = {"until": (1,), "shares": (0.5,)}


def asked(model: ModelSpec, **smaller: Any) -> Workload:
    update = {"model": model, "smaller": SmallerImages(**(smaller or HALF))}
    return workload(Task.SEGMENTATION).model_copy(update=update)


def folder(at: Path, config: dict[str, Any], processor: dict[str, Any]) -> ModelSpec:
    for name, changed in (("config.json", config), ("preprocessor_config.json", processor)):
        settings = json.loads((EMBEDDED[Task.SEGMENTATION] / name).read_text()) | changed
        (at / name).write_text(json.dumps(settings))
    return ModelSpec(name=str(at))


def test_images_that_keep_their_shape_have_no_common_size(tmp_path: Path) -> None:
    model = folder(tmp_path, {}, {"size": {"shortest_edge": 48}})
    with pytest.raises(ModelError, match=r"keep their shape; set model\.image_size to \[height, width\]"):
        smaller_sizes(asked(model))
    assert smaller_sizes(asked(model.model_copy(update={"image_size": (64, 96)}))) == ((32, 48),)


@pytest.mark.parametrize(
    ("smaller", "rule"),
    [
        ({"until": (1,), "sizes": ((32, 32), (48, 48))}, r"must end with .*\[64, 64\], got \[48, 48\]"),
        ({"until": (1,), "sizes": ((20, 20), (64, 64))}, r"\[20, 20\] pixels: .* multiples of the patch"),
        ({"until": (1, 2), "shares": (0.95, 0.99)}, "must become larger in each stage"),
    ],
)
def test_sizes_fit_the_model(smaller: dict[str, Any], rule: str) -> None:
    with pytest.raises(ModelError, match=rule):
        smaller_sizes(asked(ModelSpec(), **smaller))


def test_a_model_without_interpolated_positions_is_refused(tmp_path: Path) -> None:
    model = folder(tmp_path, {"image_size": [64, 96]}, {"size": {"height": 64, "width": 96}})
    with pytest.raises(ModelError, match="not square, whose positions transformers cannot interpolate"):
        smaller_sizes(asked(model))
