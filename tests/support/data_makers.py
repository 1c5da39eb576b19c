"""Small data sets on disk for the tests of `trainables.data`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from trainables.data.prepare import prepare_data
from trainables.data.prepared import Prepared, open_prepared
from trainables.data.resize import Resize
from trainables.specs.workload import Task, Workload

SMALL = Resize.fixed(32, 48)


def workload(task: Task | str, data: dict[str, Any]) -> Workload:
    metric = Task(task).facts.main_metric
    return Workload.model_validate_json(
        json.dumps({"task": str(task), "data": data, "objective": {"metric": metric}})
    )


def prepared(task: Task | str, data: dict[str, Any], size: Resize = SMALL) -> Prepared:
    return open_prepared(prepare_data(workload(task, data), size=size))


def noise(seed: int, height: int = 40, width: int = 60) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


def coco_folder(
    root: Path,
    count: int = 10,
    *,
    sizes: Sequence[tuple[int, int]] = ((40, 60),),
    annotations: list[dict[str, Any]] | None = None,
    start: int = 0,
) -> dict[str, str]:
    """`count` images with two boxes each, or `annotations`, and their COCO JSON: a part of `coco`."""
    images = root / "images"
    images.mkdir(parents=True, exist_ok=True)
    listed = []
    for i in range(start, start + count):
        height, width = sizes[i % len(sizes)]
        name = f"image_{i:03d}.png"
        noise(i, height, width).save(images / name)
        listed.append({"id": i, "file_name": name, "height": height, "width": width})
    if annotations is None:
        annotations = [box(i, [4, 5, 12, 10], category=3) for i in range(start, start + count)]
        annotations += [box(i, [20, 8, 16, 24], category=7) for i in range(start, start + count)]
    file = {
        "images": listed,
        "annotations": [{"id": n} | a for n, a in enumerate(annotations)],
        "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}],
    }
    path = root / f"annotations_{start}.json"
    path.write_text(json.dumps(file))
    return {"images": str(images), "annotations": str(path)}


def box(image: int, bbox: Any, *, category: int = 3, **more: Any) -> dict[str, Any]:
    return {"image_id": image, "bbox": bbox, "category_id": category} | more


def mask_folder(root: Path, count: int = 10, *, side: int = 40) -> dict[str, str]:
    """`count` JPEG images with a {0, 1} PNG mask each; the part of a `masks` section."""
    images, masks = root / "images", root / "masks"
    images.mkdir(parents=True)
    masks.mkdir()
    for i in range(count):
        noise(i, side, side).save(images / f"cell_{i:03d}.jpg")
        mask = np.zeros((side, side), np.uint8)
        mask[5 : 10 + i, 8:20] = 1
        Image.fromarray(mask).save(masks / f"cell_{i:03d}.png")
    return {"images": str(images), "masks": str(masks)}


def save_mask(path: Path, values: Any) -> None:
    Image.fromarray(np.asarray(values)).save(path)
