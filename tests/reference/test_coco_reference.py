"""The published COCO case, from its two files through our own path: source, preparation, task, metrics.

A scripted detector gives the published detections. All that a real one does not do here is see:
it reads the image's number from its colour.
"""

from __future__ import annotations

import json
from collections import defaultdict
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from transformers import YolosConfig, YolosForObjectDetection
from transformers.models.yolos.image_processing_pil_yolos import YolosImageProcessorPil

from tests.reference.conftest import config, engine, workload
from trainables.metrics.coco import Backend, coco_metrics, top_detections
from trainables.specs.data import Split
from trainables.specs.tasks import COCO_METRICS
from trainables.specs.workload import Task
from trainables.tasks import object_scores
from trainables.training.engine import Engine

Json = dict[str, Any]
NEVER = -1e4
"""A logit with a softmax of 0."""
AT_ONCE = 7
"""Images in a batch: most are padded, the last is smaller."""


@pytest.fixture(scope="module")
def reference(shared: Path) -> tuple[Json, list[Json], dict[str, float]]:
    """Annotations, detections, metrics."""
    folder = shared / "reference" / "coco_eval"
    truth = json.loads((folder / "instances_val2014_100.json").read_text())
    found = json.loads((folder / "instances_val2014_fakebbox100_results.json").read_text())
    expected = json.loads((folder / "expected.json").read_text())["bbox"]
    return truth, found, dict(zip(COCO_METRICS, expected, strict=True))


@pytest.fixture(scope="module")
def judge(reference: tuple[Json, list[Json], Any], tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """An engine over the annotated images, at their true sizes but each of one colour."""
    return _judge(reference[0], tmp_path_factory.mktemp("coco"))


def _judge(truth: Json, root: Path) -> Engine:
    labels = dict.fromkeys(range(91), "N/A") | {c["id"]: c["name"] for c in truth["categories"]}
    _checkpoint(root / "yolos", labels)
    (root / "images").mkdir()
    for number, image in enumerate(truth["images"]):
        picture = Image.new("RGB", (image["width"], image["height"]), _colour(number))
        picture.save(root / "images" / Path(image["file_name"]).with_suffix(".png"))
    Image.new("RGB", (32, 32)).save(root / "images" / "train.png")
    pictures = [image | {"file_name": f"{Path(image['file_name']).stem}.png"} for image in truth["images"]]
    (root / "validation.json").write_text(json.dumps(truth | {"images": pictures}))
    one = {"image_id": 1, "bbox": [1, 1, 9, 9], "category_id": truth["categories"][0]["id"], "area": 81.0}
    train = {"images": [{"id": 1, "file_name": "train.png"}], "annotations": [one]}
    (root / "train.json").write_text(json.dumps(train | {"categories": truth["categories"]}))
    parts = {
        part: {"images": str(root / "images"), "annotations": str(root / f"{part}.json")}
        for part in ("train", "validation")
    }
    splits = {"train": 0.5, "validation": 0.5, "test": 0.0}
    return engine(
        workload(Task.DETECTION, model={"name": str(root / "yolos")}, data={"coco": parts, "splits": splits})
    )


def _checkpoint(folder: Path, labels: dict[int, str]) -> None:
    settings = YolosConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        image_size=[32, 32], patch_size=16, num_detection_tokens=2, id2label=labels,
        label2id={name: number for number, name in labels.items()},
    )  # fmt: skip
    YolosForObjectDetection(settings).save_pretrained(folder)
    YolosImageProcessorPil(size={"shortest_edge": 32, "longest_edge": 64}).save_pretrained(folder)


def _colour(number: int) -> tuple[int, int, int]:
    return number + 100, 50, 200


class Scripted(nn.Module):
    """Gives each image the detections in `found`, under the checkpoint's label numbers."""

    def __init__(self, engine: Engine, truth: Json, found: list[Json]) -> None:
        super().__init__()
        task: Any = engine.task
        self.scale, self.loss_function, self.config = task.scale, task.model.loss_function, task.model.config
        self.images = truth["images"]
        self.found: dict[int, list[Json]] = defaultdict(list)
        for detection_ in found:
            self.found[detection_["image_id"]].append(detection_)
        self.queries = max(map(len, self.found.values()))

    def forward(self, pixel_values: Tensor, labels: Any = None) -> Any:
        red = (pixel_values[:, 0, 0, 0] * self.scale.std[0] + self.scale.mean[0]) / self.scale.factor
        numbers = (red.round().int() - _colour(0)[0]).tolist()
        answers = [self._answer(self.images[number]) for number in numbers]
        logits, boxes = (torch.stack(part) for part in zip(*answers, strict=True))
        return SimpleNamespace(logits=logits, pred_boxes=boxes)

    def _answer(self, image: Json) -> tuple[Tensor, Tensor]:
        logits = torch.full((self.queries, 92), NEVER, dtype=torch.float64)
        logits[:, -1] = 0.0  # no object, unless said otherwise
        boxes = torch.zeros(self.queries, 4, dtype=torch.float64)
        for query, given in enumerate(self.found[image["id"]]):
            logits[query, given["category_id"]] = np.log(given["score"])
            logits[query, -1] = np.log1p(-given["score"])
            x, y, width, height = given["bbox"]
            boxes[query] = torch.tensor([x + width / 2, y + height / 2, width, height])
        size = torch.tensor([image["width"], image["height"]] * 2)
        return logits.float(), (boxes / size).float()


@pytest.fixture(params=list(Backend))
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Backend:
    """The library that computes the metrics."""
    monkeypatch.setattr(object_scores, "coco_metrics", partial(coco_metrics, backend=request.param))
    chosen: Backend = request.param
    return chosen


def _evaluate(engine: Engine, truth: Json, found: list[Json], batch_size: int = AT_ONCE) -> dict[str, float]:
    model = Scripted(engine, truth, found)
    return engine.evaluate(model, config(), Split.VALIDATION, batch_size=batch_size)


def _exact(judge: Engine, truth: Json, found: list[Json], backend: Backend) -> dict[str, float]:
    """The prepared truth against the detections as they are in the file, in double precision."""
    split = judge.data.splits[Split.VALIDATION]
    names = {c["id"]: judge.task.classes.index(c["name"]) for c in truth["categories"]}
    detections = []
    for image in sorted(truth["images"], key=lambda image: image["id"]):
        mine = [d for d in found if d["image_id"] == image["id"]]
        boxes = np.array([d["bbox"] for d in mine], np.float64).reshape(-1, 4)
        scores = np.array([d["score"] for d in mine], np.float64)
        detections.append(top_detections(boxes, scores, np.array([names[d["category_id"]] for d in mine])))
    truths = [split.truth(i) for i in range(len(split))]
    return coco_metrics(truths, detections, judge.task.classes, backend=backend)


def test_prepared_boxes_are_the_annotated_ones_to_the_last_bit(
    judge: Engine, reference: tuple[Json, list[Json], dict[str, float]]
) -> None:
    truth, _, _ = reference
    split = judge.data.splits[Split.VALIDATION]
    for i, image in enumerate(sorted(truth["images"], key=lambda image: image["id"])):
        mine = [a for a in truth["annotations"] if a["image_id"] == image["id"]]
        assert split.boxes(i).tolist() == [a["bbox"] for a in mine]
        assert split.areas(i).tolist() == [a["area"] for a in mine]
        assert split.crowds(i).tolist() == [bool(a["iscrowd"]) for a in mine]


@pytest.mark.parametrize("backend", list(Backend))
def test_the_published_metrics_come_out_of_our_own_evaluation_to_1e_9(
    judge: Engine, reference: tuple[Json, list[Json], dict[str, float]], backend: Backend
) -> None:
    """Some detections overlap a box by a threshold exactly, so a truth in single precision loses 4e-4."""
    truth, found, expected = reference
    annotated = {a["image_id"] for a in truth["annotations"]}
    assert any(a["iscrowd"] for a in truth["annotations"])
    assert annotated - {d["image_id"] for d in found}, "no image without detections"
    assert any(a["area"] < 0.9 * a["bbox"][2] * a["bbox"][3] for a in truth["annotations"])
    metrics = _exact(judge, truth, found, backend)
    assert {name: metrics[name] for name in expected} == pytest.approx(expected, abs=1e-9)
    assert {name for name in metrics if name.startswith("map/")} <= {f"map/{c}" for c in judge.task.classes}


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("batch_size", [1, AT_ONCE, 100])
def test_the_batch_size_changes_nothing(
    judge: Engine, reference: tuple[Json, list[Json], dict[str, float]], batch_size: int
) -> None:
    """A model answers in single precision, which decides those exact overlaps by chance: hence 1e-3."""
    truth, found, expected = reference
    assert not judge.task.fresh_head
    metrics = _evaluate(judge, truth, found, batch_size)
    assert {name: metrics[name] for name in expected} == pytest.approx(expected, abs=1e-3)
    assert metrics == pytest.approx(_evaluate(judge, truth, found), abs=1e-9)


def test_low_scores_count(judge: Engine, reference: tuple[Json, list[Json], dict[str, float]]) -> None:
    """Study A dropped scores under 0.5 before AP: that is another metric, five points lower here."""
    truth, found, expected = reference
    assert any(d["score"] < 0.5 for d in found)
    kept = _evaluate(judge, truth, [d for d in found if d["score"] >= 0.5])
    assert kept["map"] < expected["map"] - 0.05


def test_sizes_go_by_annotated_area_and_crowds_count_apart(
    reference: tuple[Json, list[Json], dict[str, float]], tmp_path: Path
) -> None:
    """Study A sorted objects by the area of their boxes and took crowds for objects."""
    truth, found, expected = reference
    entries = [a | {"iscrowd": 0, "area": a["bbox"][2] * a["bbox"][3]} for a in truth["annotations"]]
    wrong = truth | {"annotations": entries}
    metrics = _evaluate(_judge(wrong, tmp_path), wrong, found)
    assert abs(metrics["map"] - expected["map"]) > 1e-4
    assert abs(metrics["map_small"] - expected["map_small"]) > 1e-3
