"""Fixed sizes in a folder are read without transformers; they must be equal to those of transformers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.trainables.conftest import workload
from trainables.backbones import EMBEDDED
from trainables.data.resize import Interpolation, Resize
from trainables.errors import ModelError
from trainables.image_sizes import size_of
from trainables.preparation import prepare_workload
from trainables.specs.definitions import BEFORE
from trainables.specs.workload import ModelSpec, Task, Workload
from trainables.tasks.registry import resize_of


@pytest.mark.parametrize("task", list(EMBEDDED))
def test_an_embedded_backbone_gets_the_size_of_its_processor(task: Task) -> None:
    asked = workload(task)
    meta = json.loads((prepare_workload(asked) / "meta.json").read_text())
    assert Resize.model_validate_json(json.dumps(meta["size"])) == resize_of(asked.model, task)


@pytest.mark.parametrize("task", list(EMBEDDED))
@pytest.mark.parametrize("image_size", [None, (48, 32), (24, 40)])
@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"size": {"height": 40, "width": 48}},
        {"size": 48},
        {"size": {"shortest_edge": 48}},
        {"do_resize": False},
        {"resample": 3},
        {"do_center_crop": True, "crop_size": {"height": 32, "width": 32}},
        {"image_processor_type": "DeiTImageProcessor"},
    ],
)
def test_a_folders_size_is_what_transformers_says(
    tmp_path: Path, task: Task, image_size: tuple[int, int] | None, changed: dict[str, Any]
) -> None:
    for name in ("config.json", "preprocessor_config.json"):
        settings = json.loads((EMBEDDED[task] / name).read_text())
        (tmp_path / name).write_text(json.dumps(settings | (changed if name != "config.json" else {})))
    model = ModelSpec(name=str(tmp_path), image_size=image_size)
    asked = Workload.model_validate_json(f'{{"task": "{task}", "objective": {{"metric": "loss"}}}}')
    asked = asked.model_copy(update={"model": model})
    assert _said_by(lambda: size_of(asked)) == _said_by(lambda: resize_of(model, task))
    before = asked.model_copy(update={"definitions": BEFORE})
    told = _said_by(lambda: resize_of(model, task))
    bilinear = told.by(Interpolation.BILINEAR) if isinstance(told, Resize) else told
    assert _said_by(lambda: size_of(before)) == bilinear


def _said_by(ask: Callable[[], Resize]) -> Resize | str:
    try:
        return ask()
    except ModelError as error:
        return str(error)
