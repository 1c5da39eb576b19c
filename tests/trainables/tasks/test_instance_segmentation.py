"""Models with a mask for each box, tiny and random: loss and masks as in transformers, contract, export."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModelForInstanceSegmentation
from transformers.models.rf_detr.modeling_rf_detr import RfDetrInstanceSegmentationOutput

from tests.support import instances
from tests.support.contracts import PAIRS
from tests.support.instances import (
    CLASSES,
    check_contract,
    check_learns_by_heart,
    check_metrics_of_any_batch,
    check_same_training,
    engine_of,
    trained_with,
    workload,
)
from tests.support.saved_detectors import LABELS, QUERIES, save_detector, save_instance_detector
from tests.trainables.tasks.conftest import CPU, PLAIN
from trainables.data.files.object_masks import decode
from trainables.data.loader import Batch
from trainables.errors import ModelError
from trainables.export.card_facts import Card
from trainables.export.use import load as load_export
from trainables.export.write import export_model
from trainables.inference.predict import Instances, predict_image
from trainables.specs.adapters import Adapter
from trainables.specs.data import Split
from trainables.specs.trial import Precision
from trainables.specs.workload import ModelSpec, Task
from trainables.tasks.base import pixels
from trainables.tasks.detectors import INSTANCE_FAMILIES
from trainables.tasks.instance_segmentation import AUTO
from trainables.tasks.registry import load_task, resize_of
from trainables.tasks.segmenters.instances import QUERY_MODELS


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_instance_detector(tmp_path_factory.mktemp("instances") / "model")


def batch_of(folder: Path) -> Batch:
    return instances.batch_of(folder, len(LABELS))


def known_task(folder: Path) -> Any:
    return load_task(workload(folder), tuple(LABELS.values()), CPU)


@pytest.mark.parametrize("mode", ["evaluation", "training"])
def test_loss_and_gradients_are_those_of_transformers(saved: Path, mode: str) -> None:
    task, batch = known_task(saved), batch_of(saved)
    training = mode == "training"
    model = task.assemble(PLAIN, share=False).requires_grad_(True).train(training)
    torch.manual_seed(0)
    ours = task.loss(model, batch, PLAIN), model
    other: Any = AutoModelForInstanceSegmentation.from_pretrained(saved)
    other.requires_grad_(True).train(training)
    # In evaluation there is one group of queries, but transformers' loss counts on all of them.
    other.config.group_detr = other.config.group_detr if training else 1
    torch.manual_seed(0)
    theirs = other(pixels(batch, task.scale), labels=batch.targets).loss, other
    gradients = check_same_training(ours, theirs)
    assert {"segmentation_bias", "blocks.0.pointwise_conv.weight"} <= gradients.keys()


@pytest.mark.parametrize("training", [False, True])
def test_a_batch_without_objects_has_a_loss(saved: Path, training: bool) -> None:
    task, batch = known_task(saved), instances.batch_of(saved, len(LABELS), objects=False)
    model = task.assemble(PLAIN, share=False).requires_grad_(True).train(training)
    loss = task.loss(model, batch, PLAIN)
    assert loss.shape == ()
    assert math.isfinite(loss.item())
    loss.backward()
    assert float(model.get_parameter("model.class_embed.weight").grad.abs().max()) > 0


def test_masks_and_scores_are_computed_as_in_the_processor(saved: Path) -> None:
    """By its lines, since it needs torchvision: the best pairs, bilinear masks above 0."""
    task, batch = known_task(saved), batch_of(saved)
    split, model = engine_of(saved).data.splits[Split.TRAIN], task.assemble(PLAIN, share=True)
    with torch.no_grad():
        out = task._forward(model, batch)
    detections = task._detections(out, [split.truth(i) for i in batch.indices])
    classes = out.logits.shape[-1]
    for index, found in enumerate(detections):
        scores, places = torch.topk(out.logits[index].sigmoid().flatten(), QUERIES)
        chosen = out.pred_masks[index][places // classes]
        large = torch.nn.functional.interpolate(
            chosen[:, None], size=(96, 96), mode="bilinear", align_corners=False
        )
        assert found.masks is not None
        masks = np.stack([decode(code, found.size) for code in found.masks])
        assert (masks == (large[:, 0] > 0).numpy()).all()
        assert found.labels.tolist() == (places % classes).tolist()
        assert found.scores == pytest.approx(scores.numpy(), rel=1e-6)
        boxes = out.pred_boxes[index][places // classes].numpy() * 96
        assert found.boxes[:, 2:] == pytest.approx(boxes[:, 2:], rel=1e-5)
        assert found.boxes[:, :2] == pytest.approx(boxes[:, :2] - boxes[:, 2:] / 2, abs=1e-4)


def test_masks_are_those_that_the_processor_gives(saved: Path) -> None:
    processor_of = pytest.importorskip("transformers.models.rf_detr.image_processing_rf_detr")
    task, split = known_task(saved), engine_of(saved).data.splits[Split.TRAIN]
    batch = batch_of(saved)
    model = task.assemble(PLAIN, share=True)
    with torch.no_grad():
        out = task._forward(model, batch)
    truths = [split.truth(i) for i in batch.indices]
    assert {(t.height, t.width) for t in truths} == {(96, 96)}
    detections = task._detections(out, truths)
    read = processor_of.RfDetrImageProcessor.post_process_instance_segmentation(
        None,
        RfDetrInstanceSegmentationOutput(logits=out.logits, pred_masks=out.pred_masks),
        threshold=-1.0,
        target_sizes=[(96, 96)] * 4,
        return_binary_maps=True,
    )
    for ours, theirs in zip(detections, read, strict=True):
        masks = np.stack([decode(code, (96, 96)) for code in ours.masks or ()])
        shown = masks.any(axis=(1, 2))  # transformers leaves out masks without a pixel; they count as misses
        assert (masks[shown] == theirs["segmentation"].numpy()).all()
        info = theirs["segments_info"]
        assert ours.labels[shown].tolist() == [one["label_id"] for one in info]
        assert ours.scores[shown] == pytest.approx([one["score"] for one in info], abs=1e-6)
        assert len(ours.scores) == QUERIES


def test_metrics_do_not_depend_on_the_batch_and_leave_the_generator(saved: Path) -> None:
    check_metrics_of_any_batch(saved)


def test_masks_that_are_not_finite_are_a_diverged_model(saved: Path) -> None:
    engine = engine_of(saved)
    task: Any = engine.task
    model = task.assemble(PLAIN, share=False)
    with torch.no_grad():
        model.get_parameter("blocks.1.pointwise_conv.weight").fill_(math.nan)
        found = task.evaluate(
            model, engine.data.splits[Split.VALIDATION], batch_size=4, device=CPU, precision=Precision.FP32,
            config=PLAIN,
        )  # fmt: skip
        loss = task.loss(model.train(), batch_of(saved), PLAIN)
    assert all(math.isnan(value) for value in found.values())
    assert {"map", "loss"} <= found.keys()
    assert math.isnan(loss.item())


FEW = [(Adapter.LORA, "frozen"), (Adapter.NONE, "full")]


@pytest.mark.parametrize(("adapter", "mode"), FEW)
def test_contract(saved: Path, tmp_path: Path, adapter: Adapter, mode: str) -> None:
    check_contract(saved, tmp_path, adapter, mode, refusal="of one lane")


@pytest.mark.slow
@pytest.mark.parametrize(("adapter", "mode"), PAIRS)
def test_contract_of_every_pair(saved: Path, tmp_path: Path, adapter: Adapter, mode: str) -> None:
    check_contract(saved, tmp_path, adapter, mode, refusal="of one lane")


@pytest.mark.parametrize("merge", [False, True])
def test_exports_give_the_same_masks(saved: Path, tmp_path: Path, merge: bool) -> None:
    trained = trained_with(saved, {"adapter": "lora", "learning_rate": 0.01})
    result = export_model(trained, tmp_path / "out", merge=merge, card=Card("x"))
    assert result.largest_difference <= 1e-5
    loaded: Any = load_export(result.folder, local_files_only=True)
    batch = batch_of(saved)
    with torch.inference_mode():
        ours = trained.task.outputs(trained.model, batch)
        found = loaded(pixel_values=pixels(batch, trained.task.scale))
    assert torch.allclose(ours[..., 14:], found.pred_masks.flatten(2), atol=1e-4)
    assert AUTO in (result.folder / "README.md").read_text()
    # PEFT cannot save the bias of the masks, so the base has the trained head.
    assert result.base == (None if merge else "base")


def test_predictions_have_masks_in_the_images_own_pixels(saved: Path) -> None:
    trained = trained_with(saved, {"adapter": "none", "freezing": "full"})
    image = Image.new("RGB", (130, 70), "grey")
    found = predict_image(trained, image, threshold=0.0)
    assert isinstance(found, Instances)
    assert len(found.found) == len(found.masks) == QUERIES
    assert found.summary().startswith(f"{QUERIES} objects: ")
    record: Any = found.record()
    first = record["detections"][0]
    assert first["segmentation"]["size"] == [70, 130]
    assert json.loads(json.dumps(record)) == record
    assert decode(first["segmentation"]["counts"].encode(), (70, 130)).shape == (70, 130)
    assert found.drawn(image).size == (520, 280)
    none = predict_image(trained, image, threshold=1.0)
    assert none.summary().startswith("0 objects; the highest score is")


@pytest.mark.exhaustive
def test_overfits_eight_images(tmp_path: Path) -> None:
    folder = save_instance_detector(tmp_path / "model", mask_downsample_ratio=2)
    check_learns_by_heart(folder, tmp_path, epochs=450)


def test_other_checkpoints_are_refused(tmp_path: Path) -> None:
    assert set(INSTANCE_FAMILIES) | QUERY_MODELS == Task.INSTANCE_SEGMENTATION.facts.own_losses
    with pytest.raises(ModelError, match="no embedded backbone, got 'embedded'; give a checkpoint"):
        resize_of(ModelSpec(name="embedded"), Task.INSTANCE_SEGMENTATION)
    detr = ModelSpec(name=str(save_detector(tmp_path / "detr", "detr")))
    with pytest.raises(ModelError, match="checkpoint; instance_segmentation supports rf_detr, mask2former"):
        resize_of(detr, Task.INSTANCE_SEGMENTATION)
    boxes = save_detector(tmp_path / "boxes", "rf_detr")
    with pytest.raises(ModelError, match=r"lacks .* of RfDetrForInstanceSegmentation's weights"):
        load_task(workload(boxes), CLASSES, CPU)
