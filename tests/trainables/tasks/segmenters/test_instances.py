"""Mask2Former with masks of single objects, tiny and random: loss and masks as in transformers, export."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from saved_models import save_own_head
from transformers import AutoModelForUniversalSegmentation
from transformers.models.mask2former.image_processing_pil_mask2former import Mask2FormerImageProcessorPil
from transformers.models.mask2former.modeling_mask2former import Mask2FormerForUniversalSegmentationOutput

from tests.support import instances
from tests.support.contracts import PAIRS
from tests.support.instances import (
    CLASSES,
    SIDE,
    check_contract,
    check_learns_by_heart,
    check_metrics_of_any_batch,
    check_same_training,
    engine_of,
    trained_with,
    workload,
)
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
from trainables.tasks.base import pixels
from trainables.tasks.registry import load_task

LABELS = ("ground", "a", "b")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_own_head(tmp_path_factory.mktemp("instances") / "model", "mask2former")


def batch_of(folder: Path, *, objects: bool = True) -> Batch:
    return instances.batch_of(folder, len(LABELS), objects=objects)


@pytest.mark.parametrize("mode", ["evaluation", "training"])
def test_loss_and_gradients_are_those_of_transformers(saved: Path, mode: str) -> None:
    task, batch = load_task(workload(saved), LABELS, CPU), batch_of(saved)
    assert batch.targets is not None
    training = mode == "training"
    model: Any = task.assemble(PLAIN, share=False).requires_grad_(True).train(training)
    torch.manual_seed(0)
    loss = task.loss(model, batch, PLAIN)
    assert loss.shape == ()
    other: Any = AutoModelForUniversalSegmentation.from_pretrained(saved)
    other.requires_grad_(True).train(training)
    torch.manual_seed(0)
    theirs = other(
        pixel_values=pixels(batch, task.scale),
        mask_labels=[target["masks"].float() for target in batch.targets],
        class_labels=[target["class_labels"] for target in batch.targets],
    ).loss
    check_same_training((loss, model), (theirs, other))


def test_a_batch_without_objects_has_a_loss(saved: Path) -> None:
    task, batch = load_task(workload(saved), LABELS, CPU), batch_of(saved, objects=False)
    model = task.assemble(PLAIN, share=False).requires_grad_(True).train()
    loss = task.loss(model, batch, PLAIN)
    assert math.isfinite(loss.item())
    loss.backward()


def test_masks_and_scores_are_those_that_the_processor_gives(saved: Path) -> None:
    task: Any = load_task(workload(saved), LABELS, CPU)
    split, batch = engine_of(saved).data.splits[Split.TRAIN], batch_of(saved)
    model = task.assemble(PLAIN, share=True)
    with torch.no_grad():
        out = model(pixel_values=pixels(batch, task.scale))
        found = task.objects(task.outputs(model, batch), (SIDE, SIDE))
    read = Mask2FormerImageProcessorPil().post_process_instance_segmentation(
        Mask2FormerForUniversalSegmentationOutput(
            class_queries_logits=out.class_queries_logits, masks_queries_logits=out.masks_queries_logits
        ),
        threshold=-1.0,
        target_sizes=[(96, 96)] * 4,
        return_binary_maps=True,
    )
    from trainables.tasks.found_objects import detections_of

    for index, (each, theirs) in enumerate(zip(found, read, strict=True)):
        truth = split.truth(index)
        ours = detections_of(each, (truth.height, truth.width))
        masks = np.stack([decode(code, (96, 96)) for code in ours.masks or ()])
        shown = masks.any(axis=(1, 2))  # transformers leaves out masks without a pixel
        info = theirs["segments_info"]
        assert shown.sum() == len(info) > 0
        key = [(round(float(s), 5), int(n), m.tobytes()) for s, n, m in
               zip(ours.scores[shown], ours.labels[shown], masks[shown], strict=True)]  # fmt: skip
        theirs_key = [
            (round(one["score"], 5), one["label_id"], (mask.numpy() == 1).tobytes())
            for one, mask in zip(info, theirs["segmentation"], strict=True)
        ]
        assert sorted(n for _, n, _ in key) == sorted(n for _, n, _ in theirs_key)
        assert sorted(m for *_, m in key) == sorted(m for *_, m in theirs_key)
        assert sorted(s for s, *_ in key) == pytest.approx(sorted(s for s, *_ in theirs_key), abs=2e-5)
        assert (np.diff(ours.scores) <= 0).all()


def test_metrics_do_not_depend_on_the_batch_and_leave_the_generator(saved: Path) -> None:
    check_metrics_of_any_batch(saved)


FEW = [(Adapter.LORA, "frozen"), (Adapter.NONE, "full")]


@pytest.mark.parametrize(("adapter", "mode"), FEW)
def test_contract(saved: Path, tmp_path: Path, adapter: Adapter, mode: str) -> None:
    check_contract(saved, tmp_path, adapter, mode, refusal="one trial at a time")


@pytest.mark.slow
@pytest.mark.parametrize(("adapter", "mode"), PAIRS)
def test_contract_of_every_pair(saved: Path, tmp_path: Path, adapter: Adapter, mode: str) -> None:
    check_contract(saved, tmp_path, adapter, mode, refusal="one trial at a time")


@pytest.mark.parametrize("merge", [False, True])
def test_exports_give_the_same_masks(saved: Path, tmp_path: Path, merge: bool) -> None:
    trained = trained_with(saved, {"adapter": "lora", "learning_rate": 0.01})
    result = export_model(trained, tmp_path / "out", merge=merge, card=Card("x"))
    loaded: Any = load_export(result.folder, local_files_only=True)
    batch = batch_of(saved)
    with torch.inference_mode():
        ours = trained.task.outputs(trained.model, batch)
        found = loaded(pixel_values=pixels(batch, trained.task.scale))
    masks = found.masks_queries_logits.flatten(2)
    assert float((ours[..., 11:] - masks).abs().max()) < 1e-4 * float(masks.abs().max())
    assert "AutoModelForUniversalSegmentation" in (result.folder / "README.md").read_text()


def test_predictions_have_masks_and_the_boxes_around_them(saved: Path) -> None:
    trained = trained_with(saved, {"adapter": "none", "freezing": "full"})
    image = Image.new("RGB", (130, 70), "grey")
    found = predict_image(trained, image, threshold=0.0)
    assert isinstance(found, Instances)
    assert len(found.found) == len(found.masks) > 0
    for box, code in zip(found.found, found.masks, strict=True):
        mask = decode(code, (70, 130))
        if mask.any():
            rows, columns = np.nonzero(mask)
            around = (columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1)
            assert box.box == pytest.approx(around)
    assert found.drawn(image).size == (520, 280)


def test_a_label_that_the_data_do_not_have_is_refused(saved: Path) -> None:
    task, batch = load_task(workload(saved), LABELS, CPU), batch_of(saved)
    assert batch.targets is not None
    batch.targets[0]["class_labels"][0] = 3
    with pytest.raises(ModelError, match="the data have 3 classes, 0 to 2, but an image has"):
        task.loss(task.assemble(PLAIN, share=True), batch, PLAIN)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_overfits_eight_images(tmp_path: Path) -> None:
    folder = save_own_head(tmp_path / "model", "mask2former")
    check_learns_by_heart(folder, tmp_path, epochs=300)


def test_the_card_gives_the_labels_of_the_checkpoint(tmp_path: Path) -> None:
    labels = dict(enumerate(reversed(CLASSES)))
    names = {"id2label": labels, "label2id": {name: number for number, name in labels.items()}}
    trained = trained_with(save_own_head(tmp_path / "model", "mask2former", **names), {"adapter": "none"})
    result = export_model(trained, tmp_path / "out", merge=True, card=Card("x"))
    card = (result.folder / "README.md").read_text()
    assert "The labels of the checkpoint. Those in the data: 9: 0, 8: 1, 7: 2" in card
