"""Loss and gradients of detection against transformers alone: its processor's own labels, its own model.

Nothing of ours is in the reference: real photos, cut to several shapes, go with their COCO annotations
into the checkpoint's processor, and what comes out goes into `from_pretrained(...)(**inputs)`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForObjectDetection,
    ResNetConfig,
    YolosConfig,
)
from transformers.models.detr.image_processing_pil_detr import DetrImageProcessorPil
from transformers.models.yolos.image_processing_pil_yolos import YolosImageProcessorPil

from tests.reference.conftest import config, engine, workload
from trainables.data.loader import Batch, eval_batches
from trainables.specs.data import Split
from trainables.specs.workload import Task
from trainables.tasks.base import pixels
from trainables.training.engine import Engine

Json = dict[str, Any]
LABELS = {0: "N/A", 1: "Platelets", 2: "N/A", 3: "RBC", 4: "WBC"}
WINDOWS = [(0, 0, 640, 480), (40, 30, 440, 430), (100, 0, 400, 480), (0, 100, 600, 300)]
"""What is cut out of each photo: x0, y0, x1, y1."""


@dataclass(frozen=True)
class Case:
    """A checkpoint, an engine over it, and the same images and annotations as plain values."""

    checkpoint: Path
    engine: Engine
    pictures: list[Image.Image]
    annotations: list[Json]


def _yolos(folder: Path) -> None:
    settings = YolosConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
        image_size=[64, 96], patch_size=16, num_detection_tokens=12, use_mid_position_embeddings=False,
        id2label=LABELS, label2id={name: number for number, name in LABELS.items()},
    )  # fmt: skip
    _save(settings, folder)
    YolosImageProcessorPil(size={"shortest_edge": 64, "longest_edge": 96}).save_pretrained(folder)


def _detr(folder: Path) -> None:
    backbone = ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1], layer_type="basic",
        out_features=["stage4"],
    )  # fmt: skip
    settings = AutoConfig.for_model(
        "detr", backbone_config=backbone, use_timm_backbone=False, use_pretrained_backbone=False,
        backbone=None, d_model=32, encoder_layers=1, decoder_layers=2, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, num_queries=12,
        auxiliary_loss=True, id2label=LABELS, label2id={name: number for number, name in LABELS.items()},
    )  # fmt: skip
    _save(settings, folder)
    DetrImageProcessorPil(size={"shortest_edge": 64, "longest_edge": 96}).save_pretrained(folder)


def _save(settings: Any, folder: Path) -> None:
    torch.manual_seed(0)
    model = AutoModelForObjectDetection.from_config(settings)
    for name, parameter in model.named_parameters():
        # A YOLOS initialised from its config has identical queries, and heads with nearly constant outputs.
        if name.endswith(("detection_tokens", "position_embeddings", "cls_token")):
            torch.nn.init.normal_(parameter, std=1.0)
        if name.startswith(("class_labels_classifier", "bbox_predictor")) and parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder)


@pytest.fixture(scope="module", params=[_yolos, _detr], ids=["yolos", "detr"])
def case(request: pytest.FixtureRequest, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Case:
    root = tmp_path_factory.mktemp("loss")
    request.param(root / "checkpoint")
    file = json.loads((shared / "data/bccd/instances_val.json").read_text())
    names = {c["id"]: c["name"] for c in file["categories"]}
    (root / "images").mkdir()
    pictures, listed, entries = [], [], []
    for number, (image, window) in enumerate(zip(file["images"], WINDOWS, strict=False)):
        with Image.open(shared / "data/bccd/images" / image["file_name"]) as photo:
            picture = photo.convert("RGB").crop(window)
        picture.save(root / "images" / f"{number}.png")
        pictures.append(picture)
        listed.append(
            {"id": number, "file_name": f"{number}.png", "height": picture.height, "width": picture.width}
        )
        whole = [a for a in file["annotations"] if a["image_id"] == image["id"] and _inside(a, window)]
        for place, entry in enumerate(whole[:8]):
            x, y, width, height = entry["bbox"]
            entries.append(
                entry
                | {
                    "id": len(entries) + 1,
                    "image_id": number,
                    "bbox": [x - window[0], y - window[1], width, height],
                    "iscrowd": int(number == 0 and place == 1),
                }
            )
    coco = {"images": listed, "annotations": entries, "categories": file["categories"]}
    (root / "all.json").write_text(json.dumps(coco))
    other = {"images": [listed[0] | {"file_name": "other.png"}], "annotations": entries[:1]}
    (root / "other.json").write_text(json.dumps(other | {"categories": file["categories"]}))
    pictures[0].save(root / "images" / "other.png")
    parts = {
        part: {"images": str(root / "images"), "annotations": str(root / f"{name}.json")}
        for part, name in (("train", "all"), ("validation", "other"))
    }
    asked = workload(
        Task.DETECTION,
        model={"name": str(root / "checkpoint")},
        data={"coco": parts, "splits": {"train": 0.5, "validation": 0.5, "test": 0.0}},
    )
    label = {name: number for number, name in LABELS.items()}
    annotations = [
        {
            "image_id": number,
            "annotations": [
                e | {"category_id": label[names[e["category_id"]]]}
                for e in entries
                if e["image_id"] == number
            ],
        }
        for number in range(len(pictures))
    ]
    return Case(root / "checkpoint", engine(asked), pictures, annotations)


def _inside(entry: Json, window: tuple[int, int, int, int]) -> bool:
    x, y, width, height = entry["bbox"]
    return window[0] <= x and window[1] <= y and x + width <= window[2] and y + height <= window[3]


@pytest.fixture(scope="module")
def inputs(case: Case) -> Any:
    """What the checkpoint's processor makes of images and annotations: pixel values, mask, labels."""
    processor = AutoImageProcessor.from_pretrained(case.checkpoint, backend="pil")
    return processor(case.pictures, annotations=case.annotations, return_tensors="pt")


def _batch(case: Case) -> Batch:
    split = case.engine.data.splits[Split.TRAIN]
    (batch,) = eval_batches(split, batch_size=len(split))
    return batch


def test_pixels_and_labels_are_the_processors_own(case: Case, inputs: Any) -> None:
    batch, task = _batch(case), case.engine.task
    assert len({tuple(picture.size) for picture in case.pictures}) == len(WINDOWS)
    torch.testing.assert_close(pixels(batch, task.scale), inputs["pixel_values"], rtol=0, atol=1e-5)
    assert batch.targets is not None
    assert sum(len(t["boxes"]) for t in batch.targets) == sum(
        not e["iscrowd"] for a in case.annotations for e in a["annotations"]
    )
    for ours, label in zip(batch.targets, inputs["labels"], strict=True):
        torch.testing.assert_close(ours["boxes"], label["boxes"], rtol=0, atol=1e-6)
        known = [LABELS[int(number)] for number in label["class_labels"]]
        assert [task.classes[int(number)] for number in ours["class_labels"]] == known


def test_loss_and_every_gradient_are_transformers_own(case: Case, inputs: Any) -> None:
    plain = AutoModelForObjectDetection.from_pretrained(case.checkpoint).eval()
    keep = ("pixel_values", "pixel_mask") if "detr" in plain.config.model_type else ("pixel_values",)
    expected = plain(**{name: inputs[name] for name in keep}, labels=inputs["labels"]).loss
    expected.backward()
    task = case.engine.task
    model = task.assemble(config(), share=False).requires_grad_(True)
    loss = task.loss(model, _batch(case), config())
    loss.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    ours = dict(model.named_parameters())
    compared = 0
    for name, parameter in plain.named_parameters():
        assert (parameter.grad is None) == (ours[name].grad is None), name
        if parameter.grad is not None:
            _close(ours[name].grad, parameter.grad, name)
            compared += 1
    assert compared > 30


def _close(ours: Tensor | None, expected: Tensor, name: str) -> None:
    """Equal up to float32's rounding: pixels differ in their last bits."""
    assert ours is not None
    bar = 1e-5 * float(expected.abs().max()) + 1e-7
    assert float((ours - expected).abs().max()) < bar, name


def test_the_order_of_the_labels_does_not_matter(case: Case) -> None:
    """Study A paired the n-th label with the n-th query; here they are matched."""
    task, batch = case.engine.task, _batch(case)
    assert batch.targets is not None
    turned = [{key: value.flip(0) for key, value in target.items()} for target in batch.targets]
    assert any(not torch.equal(a["boxes"], b["boxes"]) for a, b in zip(turned, batch.targets, strict=True))
    model = task.assemble(config(), share=True)
    other = Batch(batch.images, batch.valid, turned, None, batch.indices)
    assert task.loss(model, other, config()).item() == pytest.approx(
        task.loss(model, batch, config()).item(), rel=1e-5
    )


def test_queries_without_an_object_are_taught_to_say_so(case: Case) -> None:
    """Study A's loss had no such class. Here a batch without any object still has a loss, of it alone."""
    task, batch = case.engine.task, _batch(case)
    empty = [
        {"boxes": torch.zeros(0, 4), "class_labels": torch.zeros(0, dtype=torch.int64)} for _ in batch.indices
    ]
    model: Any = task.assemble(config(), share=True)
    head = [p.requires_grad_(True) for n, p in model.named_parameters() if n in task.head_names(model)]
    optimizer = torch.optim.SGD(head, lr=0.5)
    alone = Batch(batch.images, batch.valid, empty, None, batch.indices)

    def no_object() -> float:
        logits = task.outputs(model, alone)[..., :-4]
        return float(logits.softmax(-1)[..., -1].mean().detach())

    before = no_object()
    for _ in range(5):
        optimizer.zero_grad()
        task.loss(model, alone, config()).backward()
        optimizer.step()
    assert no_object() > before
