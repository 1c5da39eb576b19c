"""The published COCO case of masks, from its two files through our own reader, preparation and metrics."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.reference.conftest import workload
from trainables.data.prepare import prepare_data
from trainables.data.prepared import open_prepared
from trainables.data.resize import Resize
from trainables.metrics.coco import Backend, Detections, coco_metrics
from trainables.specs.data import Split
from trainables.specs.tasks import COCO_METRICS
from trainables.specs.workload import Task


@pytest.mark.parametrize("backend", Backend)
def test_published_masks_give_the_published_figures(shared: Path, tmp_path: Path, backend: Backend) -> None:
    """Polygons, groups as run lengths and annotated areas of 100 images of COCO val2014."""
    folder = shared / "reference" / "coco_eval"
    truth = json.loads((folder / "instances_val2014_100.json").read_text())
    results = json.loads((folder / "instances_val2014_fakesegm100_results.json").read_text())
    expected = json.loads((folder / "expected.json").read_text())["segm"]
    (tmp_path / "images").mkdir()
    images = [image | {"file_name": f"{image['id']}.png"} for image in truth["images"]]
    for image in images:
        Image.new("RGB", (image["width"], image["height"]), "white").save(
            tmp_path / "images" / image["file_name"]
        )
    Image.new("RGB", (32, 32), "grey").save(tmp_path / "images" / "train.png")
    first = truth["categories"][0]["id"]
    one = {"image_id": 1, "category_id": first, "segmentation": [[1, 1, 9, 1, 9, 9]], "area": 32.0}
    train = {"images": [{"id": 1, "file_name": "train.png"}], "annotations": [one]}
    for name, file in {"train": train, "validation": truth | {"images": images}}.items():
        content = file | {"categories": truth["categories"]}
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    parts: dict[str, Any] = {
        name: {"images": str(tmp_path / "images"), "annotations": str(tmp_path / f"{name}.json")}
        for name in ("train", "validation")
    }
    asked = workload(
        Task.INSTANCE_SEGMENTATION,
        data={"coco": parts, "splits": {"train": 0.9, "validation": 0.1, "test": 0}},
    )
    prepared = open_prepared(prepare_data(asked, size=Resize.fixed(32, 32)))
    assert prepared.meta["faults"] == []
    split = prepared.splits[Split.VALIDATION]
    place = {c["id"]: prepared.classes.index(c["name"]) for c in truth["categories"]}
    truths, detections = [split.truth(i) for i in range(len(split))], []
    assert sum(int(each.crowds.sum()) for each in truths) > 5
    for name in split.names:
        mine = [r for r in results if f"{r['image_id']}.png" == name]
        masks = tuple(r["segmentation"]["counts"].encode() for r in mine)
        labels, scores = np.array([place[r["category_id"]] for r in mine], int), [r["score"] for r in mine]
        size = tuple(mine[0]["segmentation"]["size"]) if mine else (0, 0)
        detections.append(Detections(np.zeros((len(mine), 4)), np.array(scores), labels, masks, size))
    found = coco_metrics(truths, detections, prepared.classes, backend=backend)
    assert [found[name] for name in COCO_METRICS] == pytest.approx(expected, abs=1e-12)
