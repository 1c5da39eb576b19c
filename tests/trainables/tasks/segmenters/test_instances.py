"""Mask2Former with masks of single objects, tiny and random: loss and masks as in transformers, export."""

from __future__ import annotations

import json
import math
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from saved_models import LARGE, save_own_head
from transformers import AutoModelForUniversalSegmentation
from transformers.models.mask2former.image_processing_pil_mask2former import Mask2FormerImageProcessorPil
from transformers.models.mask2former.modeling_mask2former import Mask2FormerForUniversalSegmentationOutput

from tests.support.pairwise import pairwise_sample
from tests.trainables.tasks.conftest import CPU, PLAIN
from tests.trainables.test_contract import PAIRS
from tests.trainables.test_contract_detectors import check_moved, config_of, outputs
from trainables.data.files.object_masks import decode
from trainables.data.loader import Batch, eval_batches
from trainables.errors import ModelError
from trainables.export.card import Card
from trainables.export.use import load as load_export
from trainables.export.write import export_model
from trainables.inference.predict import Instances, predict_image
from trainables.inference.trained_model import TrainedModel
from trainables.preparation import prepare_workload
from trainables.specs.adapters import Adapter
from trainables.specs.data import Split
from trainables.specs.trial import Precision, TrialConfig
from trainables.specs.workload import Workload
from trainables.tasks.base import pixels
from trainables.tasks.registry import load_task
from trainables.training.checkpoint import read_state, restore_state, save_state
from trainables.training.engine import Engine

CLASSES = tuple(str(digit) for digit in range(10))
LABELS = ("ground", "a", "b")


def workload(folder: Path, train: int = 12) -> Workload:
    asked = {
        "task": "instance_segmentation",
        "model": {"name": str(folder), "image_size": [LARGE, LARGE]},
        "objective": {"metric": "map_50"},
        "data": {"embedded": {"domain": "clean", "train": train, "validation": 4, "test": 3, "side": 96}},
    }
    return Workload.model_validate_json(json.dumps(asked))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_own_head(tmp_path_factory.mktemp("instances") / "model", "mask2former")


@lru_cache(maxsize=2)
def engine_of(folder: Path, train: int = 12) -> Engine:
    asked = workload(folder, train)
    return Engine(asked, prepare_workload(asked), device="cpu")


def batch_of(folder: Path, *, objects: bool = True) -> Batch:
    """Images with digits, the labels being those of the checkpoint; the last image has no object."""
    batch = eval_batches(engine_of(folder).data.splits[Split.TRAIN], batch_size=4)[0]
    assert batch.targets is not None
    targets = [{**t, "class_labels": t["class_labels"] % len(LABELS)} for t in batch.targets]
    targets[-1] = {name: tensor[:0] for name, tensor in targets[-1].items()}
    if not objects:
        targets = [{name: tensor[:0] for name, tensor in target.items()} for target in targets]
    return Batch(batch.images, batch.valid, targets, None, batch.indices)


@pytest.mark.parametrize("mode", ["evaluation", "training"])
def test_loss_and_gradients_are_those_of_transformers(saved: Path, mode: str) -> None:
    task, batch = load_task(workload(saved), LABELS, CPU), batch_of(saved)
    assert batch.targets is not None
    found = []
    for ours in (True, False):
        model: Any = (
            task.assemble(PLAIN, share=False)
            if ours
            else AutoModelForUniversalSegmentation.from_pretrained(saved)
        )
        model.requires_grad_(True).train(mode == "training")
        torch.manual_seed(0)
        if ours:
            loss = task.loss(model, batch, PLAIN)
        else:
            loss = model(
                pixel_values=pixels(batch, task.scale),
                mask_labels=[target["masks"].float() for target in batch.targets],
                class_labels=[target["class_labels"] for target in batch.targets],
            ).loss
        loss.sum().backward()
        found.append((loss, {n: p.grad for n, p in model.named_parameters() if p.grad is not None}))
    (loss, gradients), (theirs, expected) = found
    assert loss.shape == ()
    assert loss.item() == pytest.approx(theirs.item(), rel=1e-6)
    assert gradients.keys() == expected.keys()
    largest = max(float(grad.abs().max()) for grad in expected.values())
    for name, grad in gradients.items():
        assert torch.allclose(grad, expected[name], rtol=1e-5, atol=1e-6 * largest), name


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
        found = task.objects(task.outputs(model, batch), (LARGE, LARGE))
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
    engine = engine_of(saved)
    task: Any = engine.task
    torch.manual_seed(0)
    model = task.assemble(PLAIN, share=True)
    state = torch.get_rng_state()
    with torch.inference_mode():
        one, three, low = (
            task.evaluate(
                model, engine.data.splits[Split.TRAIN], batch_size=n, device=CPU, precision=precision,
                config=PLAIN,
            )
            for n, precision in ((1, Precision.FP32), (3, Precision.FP32), (3, Precision.BF16))
        )  # fmt: skip
    assert torch.equal(torch.get_rng_state(), state)
    assert one == pytest.approx(three, rel=1e-4)
    assert {"map", "map_50", "loss"} <= one.keys()
    assert all(math.isfinite(value) for value in low.values())


FEW = [(Adapter.LORA, "frozen"), (Adapter.NONE, "full")]


def contract(folder: Path, tmp_path: Path, adapter: Adapter, mode: str) -> None:
    # AdaLoRA soon takes all ranks of some layers, which are then as they were: not within the first steps.
    engine, asked = engine_of(folder), config_of(adapter, mode).model_copy(update={"epochs": 40})
    state = engine.start(asked)
    before = {name: tensor.detach().clone() for name, tensor in state.model.state_dict().items()}
    list(engine.advance([state], steps=2))
    check_moved(state, before, epoch=0)
    save_state(state, tmp_path / "state.ckpt")
    again = engine.start(asked)
    restore_state(again, read_state(tmp_path / "state.ckpt"))
    for resumed in (state, again):
        list(engine.advance([resumed], steps=1))
    assert torch.equal(outputs(engine, again), outputs(engine, state))
    with pytest.raises(ValueError, match="one trial at a time"):
        engine.task.lane_losses(state.model, [batch_of(folder)] * 2, [asked] * 2)


@pytest.mark.parametrize(("adapter", "mode"), FEW)
def test_contract(saved: Path, tmp_path: Path, adapter: Adapter, mode: str) -> None:
    contract(saved, tmp_path, adapter, mode)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "adapter", "mode"), pairwise_sample([("m", *pair) for pair in PAIRS]))
def test_contract_of_every_pair(saved: Path, tmp_path: Path, kind: str, adapter: Adapter, mode: str) -> None:
    contract(saved, tmp_path, adapter, mode)


def trained_with(folder: Path, settings: dict[str, Any]) -> TrainedModel:
    engine = engine_of(folder)
    asked = TrialConfig.model_validate_json(json.dumps({"epochs": 4, "batch_size": 4} | settings))
    state = engine.start(asked)
    list(engine.advance([state], steps=2))
    model = state.model.eval()
    return TrainedModel(engine.workload, asked, CLASSES, engine.task, model, state.adapted, state.parts)


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


@pytest.mark.slow
def test_overfits_eight_images(tmp_path: Path) -> None:
    folder = save_own_head(tmp_path / "model", "mask2former")
    engine = engine_of(folder, 8)
    asked = TrialConfig.model_validate_json(
        json.dumps(
            {"adapter": "none", "freezing": "full", "epochs": 300, "batch_size": 8, "learning_rate": 5e-3}
        )
    )
    state = engine.start(asked)
    while not state.done:
        list(engine.advance([state]))
    scored = engine.evaluate(state.model.eval(), asked, Split.TRAIN)
    assert scored["map_50"] >= 0.9
    trained = TrainedModel(
        engine.workload, asked, CLASSES, engine.task, state.model, state.adapted, state.parts
    )
    result = export_model(trained, tmp_path / "out", merge=True, card=Card("by heart"))
    spec = engine.workload.model.model_copy(update={"name": str(result.folder)})
    again = load_task(engine.workload.model_copy(update={"model": spec}), CLASSES, CPU)
    with torch.inference_mode():
        found = again.evaluate(
            again.assemble(asked, share=True),
            engine.data.splits[Split.TRAIN],
            batch_size=8,
            device=CPU,
            precision=Precision.FP32,
            config=asked,
        )
    assert found["map"] == pytest.approx(scored["map"], abs=1e-4)
