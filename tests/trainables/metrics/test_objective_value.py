"""An objective that the validation images can give no value is refused, from the annotations alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_makers import box, coco_folder, mask_folder, noise
from PIL import Image

from trainables.data.prepare import link_domains, prepare_data, prepare_domain
from trainables.data.prepared import Prepared, open_prepared
from trainables.data.resize import Resize
from trainables.errors import DataError
from trainables.metrics.objective_value import check_objective
from trainables.specs.definitions import BEFORE
from trainables.specs.workload import ObjectiveSpec, Task, Workload

SIZE = Resize.fixed(32, 48)
BOXES = [box(i, [4, 5, 12, 10], category=3) for i in range(4)]


def _of(task: Task, data: dict[str, Any], metric: str = "loss") -> Workload:
    from data_makers import workload

    return workload(task, data).model_copy(update={"objective": ObjectiveSpec(metric=metric)})


def _refusal(prepared: Prepared, of: Workload, metric: str) -> str | None:
    asked = of.model_copy(update={"objective": ObjectiveSpec(metric=metric)})
    try:
        check_objective(prepared, asked)
    except DataError as error:
        return str(error)
    return None


def _detection(tmp_path: Path, validation: list[dict[str, Any]]) -> tuple[Prepared, Workload]:
    """Training images with cats and dogs; validation has only what is given."""
    train = coco_folder(tmp_path / "train", 4)
    other = coco_folder(tmp_path / "validation", 4, annotations=validation)
    of = _of(Task.DETECTION, {"coco": {"train": train, "validation": other}})
    return open_prepared(prepare_data(of, size=SIZE)), of


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("map", None),
        ("map/cat", None),
        ("map_small", None),
        ("mar_1/cat", None),
        ("map_worst", None),
        ("loss", None),
        ("map/dog", "validation has no box of class dog, so that the metric has no value there"),
        ("map_75/dog", "validation has no box of class dog"),
        ("map_large", "validation has no large box (an annotated area of at least 9216 square pixels)"),
        ("mar_medium", "validation has no medium box (an annotated area from 1024 to 9216 square pixels)"),
        ("map_large/cat", "validation has no large box of class cat"),
        ("map/dgo", "there is no class 'dgo'; did you mean 'dog'?"),
        ("map/zebra", "there is no class 'zebra'; the data has"),
    ],
)
def test_boxes_that_a_metric_needs(tmp_path: Path, metric: str, expected: str | None) -> None:
    prepared, of = _detection(tmp_path, BOXES)
    said = _refusal(prepared, of, metric)
    assert said is None if expected is None else f"objective.metric {metric}: {expected}" in (said or "")


def test_crowds_do_not_count(tmp_path: Path) -> None:
    prepared, of = _detection(tmp_path, [b | {"iscrowd": 1, "area": 120.0} for b in BOXES])
    for metric in ("map", "map_small", "map/cat"):
        assert "is counted: all of them are crowds" in (_refusal(prepared, of, metric) or "")


def test_the_annotated_area_decides_its_size(tmp_path: Path) -> None:
    prepared, of = _detection(tmp_path, [box(i, [4, 5, 40, 30], area=1024.0) for i in range(4)])
    assert _refusal(prepared, of, "map_small") is None, "both ends of COCO's ranges are included"
    assert _refusal(prepared, of, "map_medium") is None


def _masks(root: Path, value: int, count: int = 4) -> dict[str, str]:
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    for i in range(count):
        noise(i, 40, 40).save(root / "images" / f"m{i}.png")
        mask = np.zeros((40, 40), np.uint8)
        mask[:10] = value
        Image.fromarray(mask).save(root / "masks" / f"m{i}.png")
    return {"images": str(root / "images"), "masks": str(root / "masks")}


def _segmentation(tmp_path: Path, value: int, **more: Any) -> tuple[Prepared, Workload]:
    masks = {"train": mask_folder(tmp_path / "train", 4), "validation": _masks(tmp_path / "v", value)}
    masks |= {"classes": ["background", "cell", "debris"], "ignore": 255}
    of = _of(Task.SEGMENTATION, {"masks": masks, "faults": {"empty_mask": "keep"}} | more)
    images = prepare_data(of, size=SIZE)
    folders = {
        name: prepare_domain(of, name, domain, open_prepared(images).classes, size=SIZE)
        for name, domain in of.data.domains.items()
    }
    return open_prepared(link_domains(of, images, folders) if folders else images), of


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("dice", None),
        ("dice/cell", None),
        ("iou_worst", None),
        ("soft_dice", None),
        ("iou/debris", "validation has no pixel of class debris"),
    ],
)
def test_pixels_that_a_metric_needs(tmp_path: Path, metric: str, expected: str | None) -> None:
    prepared, of = _segmentation(tmp_path, 1)
    said = _refusal(prepared, of, metric)
    assert said is None if expected is None else f"objective.metric {metric}: {expected}" in (said or "")


def test_a_mean_over_the_foreground_needs_foreground(tmp_path: Path) -> None:
    prepared, of = _segmentation(tmp_path, 0)
    for metric in ("dice", "iou", "dice_worst"):
        assert "no pixel of a class other than background" in (_refusal(prepared, of, metric) or "")
    for metric in ("dice_with_background", "dice/background", "loss"):
        assert _refusal(prepared, of, metric) is None
    before = of.model_copy(update={"definitions": BEFORE})
    assert _refusal(prepared, before, "dice") is None, "a mean over all classes has a value"


def test_a_domain_is_looked_at_where_the_objective_is_measured(tmp_path: Path) -> None:
    other = {"masks": _masks(tmp_path / "test", 1), "validation": {"masks": _masks(tmp_path / "d", 2)}}
    prepared, of = _segmentation(tmp_path, 1, domains={"stain": other})
    said = _refusal(prepared, of, "dice/cell@stain") or ""
    assert "validation of domain stain has no pixel of class cell" in said
    for metric in ("dice/debris@stain", "dice@stain", "robustness", "dice/cell"):
        assert _refusal(prepared, of, metric) is None
