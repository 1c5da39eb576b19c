"""SegFormer, Mask2Former and EoMT: losses, gradients and class maps are those of transformers."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from saved_models import LARGE, OWN_HEADS, save_own_head
from sklearn.metrics import f1_score
from torch import Tensor
from transformers import (
    AutoModelForSemanticSegmentation,
    AutoModelForUniversalSegmentation,
    EomtImageProcessorPil,
    Mask2FormerImageProcessorPil,
    SegformerConfig,
    SegformerForImageClassification,
    SegformerImageProcessorPil,
)
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from tests.trainables.tasks.conftest import CPU, PLAIN, load
from trainables.data.files.mask_pixels import IGNORE
from trainables.data.loader import eval_batches
from trainables.data.prepared import PreparedSplit
from trainables.errors import ModelError
from trainables.specs.heads import HeadSource
from trainables.specs.trial import Precision, TrialConfig
from trainables.specs.workload import Task
from trainables.tasks.base import autocast, pixels
from trainables.tasks.segmenters.registry import SEGMENTER_FAMILIES

KNOWN = ("ground", "a", "b")
NEW = ("plain", "cell", "nucleus", "rest")
SplitOf = Callable[..., PreparedSplit]


def _task(folder: Path, classes: tuple[str, ...] = KNOWN, **model: Any) -> Any:
    return load(Task.SEGMENTATION, str(folder), classes, **model)


def _by_hand(folder: Path, kind: str) -> Any:
    auto = AutoModelForSemanticSegmentation if kind == "segformer" else AutoModelForUniversalSegmentation
    return auto.from_pretrained(folder).eval()


def _config(**settings: Any) -> TrialConfig:
    return TrialConfig.model_validate_json(json.dumps({"adapter": "none", "freezing": "full", **settings}))


def _split(split_of: SplitOf, side: int, *, images: int = 3, classes: int = 3) -> PreparedSplit:
    """Noise with masks of squares; the first rows are ignored."""
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (side, side, 3), dtype=np.uint8) for _ in range(images)]
    rows = []
    for number in range(images):
        mask = np.zeros((side, side), np.uint8)
        mask[side // 4 : side // 2, : side // 2] = 1 + number % (classes - 1)
        mask[side // 2 :, side // 3 :] = 1 + (number + 1) % (classes - 1)
        mask[:3] = IGNORE
        rows.append({"mask": mask.tobytes()})
    return split_of(Task.SEGMENTATION, pictures, rows)


def _masks(truth: Tensor) -> dict[str, list[Tensor]]:
    """The labels of a batch as the processors of transformers make them, without the ignored value."""
    made: dict[str, list[Tensor]] = {"mask_labels": [], "class_labels": []}
    for image in truth.numpy():
        labels = np.unique(image)
        labels = labels[labels != IGNORE]
        made["mask_labels"].append(torch.from_numpy(np.stack([image == label for label in labels])).float())
        made["class_labels"].append(torch.from_numpy(labels).long())
    return made


def _their_loss(model: Any, kind: str, images: Tensor, truth: Tensor) -> Tensor:
    labels = {"labels": truth.long()} if kind == "segformer" else _masks(truth)
    found: Tensor = model(pixel_values=images, **labels).loss
    return found


def test_an_experiment_file_knows_which_models_have_heads_of_their_own() -> None:
    assert Task.SEGMENTATION.facts.own_heads == set(SEGMENTER_FAMILIES) == set(OWN_HEADS)
    assert Task.SEGMENTATION.facts.own_losses == set(SEGMENTER_FAMILIES)


@pytest.mark.parametrize("mode", ["evaluation", "training"])
@pytest.mark.parametrize("kind", OWN_HEADS)
def test_loss_and_gradients_are_those_of_transformers(
    tmp_path: Path, split_of: SplitOf, kind: str, mode: str
) -> None:
    folder = save_own_head(tmp_path, kind)
    task = _task(folder)
    batch = eval_batches(_split(split_of, task.resize.height), batch_size=3)[0]
    assert batch.masks is not None
    found = []
    for ours in (True, False):
        model = task.assemble(_config(), share=False) if ours else _by_hand(folder, kind)
        model.requires_grad_(True).train(mode == "training")
        torch.manual_seed(3)
        loss = (
            task.loss(model, batch, _config())
            if ours
            else _their_loss(model, kind, pixels(batch, task.scale), batch.masks)
        )
        loss.backward()
        found.append((loss, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}))
    (loss, gradients), (theirs, expected) = found
    assert loss.item() == pytest.approx(theirs.item(), rel=1e-6)
    assert loss.dtype is torch.float32
    assert gradients.keys() == expected.keys()
    assert len(gradients) > 20
    largest = max(float(grad.abs().max()) for grad in expected.values())
    for name, grad in gradients.items():
        torch.testing.assert_close(grad, expected[name], rtol=1e-5, atol=1e-6 * max(1.0, largest), msg=name)


PROCESSORS: dict[str, Callable[[int], Any]] = {
    "segformer": lambda side: SegformerImageProcessorPil(),
    "mask2former": lambda side: Mask2FormerImageProcessorPil(),
    "eomt": lambda side: EomtImageProcessorPil(size={"shortest_edge": side, "longest_edge": side}),
    "eomt_dinov3": lambda side: EomtImageProcessorPil(size={"shortest_edge": side, "longest_edge": side}),
}


@pytest.mark.parametrize("kind", OWN_HEADS)
def test_class_maps_are_those_of_its_processor_and_scored_by_the_confusion_matrix(
    tmp_path: Path, split_of: SplitOf, kind: str
) -> None:
    folder = save_own_head(tmp_path, kind)
    task = _task(folder)
    side = task.resize.height
    split = _split(split_of, side)
    batch = eval_batches(split, batch_size=3)[0]
    assert batch.masks is not None
    model = task.assemble(PLAIN, share=True)
    with torch.inference_mode():
        found = task.outputs(model, batch).argmax(1)
        theirs = _by_hand(folder, kind)(pixel_values=pixels(batch, task.scale))
        maps = PROCESSORS[kind](side).post_process_semantic_segmentation(theirs, [(side, side)] * 3)
    assert torch.equal(found, torch.stack(list(maps)))
    assert len(found.unique()) > 1
    metrics = _evaluate(task, model, split)
    counted = batch.masks != IGNORE
    expected = f1_score(batch.masks[counted], found[counted], labels=[1, 2], average=None)
    assert [metrics["dice/a"], metrics["dice/b"]] == pytest.approx(list(expected), abs=1e-9)


def _evaluate(task: Any, model: Any, split: PreparedSplit, **changes: Any) -> dict[str, float]:
    options: dict[str, Any] = {"batch_size": 2, "device": CPU, "precision": Precision.FP32, "config": PLAIN}
    with torch.inference_mode():
        metrics: dict[str, float] = task.evaluate(model, split, **(options | changes))
    return metrics


@pytest.mark.parametrize("kind", OWN_HEADS)
def test_an_evaluation_depends_on_no_batch_size_and_draws_nothing(
    tmp_path: Path, split_of: SplitOf, kind: str
) -> None:
    task = _task(save_own_head(tmp_path, kind))
    split, model = _split(split_of, task.resize.height), task.assemble(_config(), share=False)
    if kind.startswith("eomt"):  # as after training: only the last level, so that points are drawn once
        model.attn_mask_probs.zero_()
    before = torch.get_rng_state()
    one, other = (_evaluate(task, model, split, batch_size=size) for size in (1, 3))
    assert torch.equal(torch.get_rng_state(), before)
    assert one == pytest.approx(other, rel=1e-5)
    assert one["loss"] == pytest.approx(_mean_loss(task, model, split, kind), rel=1e-5)


def _mean_loss(task: Any, model: Any, split: PreparedSplit, kind: str) -> float:
    """The mean of the losses of each image alone, at the same points in each."""
    losses = []
    for batch in eval_batches(split, batch_size=1):
        assert batch.masks is not None
        if kind == "segformer":
            losses.append(float(_their_loss(model, kind, pixels(batch, task.scale), batch.masks)))
            continue
        with torch.random.fork_rng():
            torch.manual_seed(0)
            losses.append(float(_their_loss(model, kind, pixels(batch, task.scale), batch.masks)))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("kind", OWN_HEADS)
def test_bf16_computes_loss_and_scores_in_float32(tmp_path: Path, split_of: SplitOf, kind: str) -> None:
    task = _task(save_own_head(tmp_path, kind))
    split = _split(split_of, task.resize.height)
    batch, model = eval_batches(split, batch_size=3)[0], task.assemble(_config(), share=False)
    seen: list[torch.dtype] = []
    part = model.decode_head.classifier if kind == "segformer" else model.criterion
    part.register_forward_hook(
        lambda _m, _a, out: seen.extend(t.dtype for t in (out.values() if isinstance(out, dict) else [out]))
    )
    with autocast(CPU, Precision.BF16):
        loss = task.loss(model, batch, _config())
        scores = task.outputs(model, batch)
    assert loss.dtype is scores.dtype is torch.float32
    assert set(seen) == {torch.float32}
    exact = task.loss(model, batch, _config())
    assert float(loss) == pytest.approx(float(exact), rel=0.2)


@pytest.mark.parametrize("kind", OWN_HEADS)
def test_classes_are_mapped_by_name(tmp_path: Path, split_of: SplitOf, kind: str) -> None:
    folder = save_own_head(tmp_path, kind)
    task, turned = _task(folder), _task(folder, ("b", "ground", "a"))
    assert (task.head_source(PLAIN), turned.head_source(PLAIN)) == (HeadSource.KEPT, HeadSource.MAPPED)
    assert not task.fresh_head
    split = _split(split_of, task.resize.height)
    batch = eval_batches(split, batch_size=3)[0]
    assert batch.masks is not None
    other = torch.tensor([1, 2, 0])[batch.masks.clamp(max=2).long()].to(torch.uint8)
    turned_batch = type(batch)(
        batch.images, batch.valid, None, torch.where(batch.masks == IGNORE, batch.masks, other), batch.indices
    )
    models = [each.assemble(_config(), share=True) for each in (task, turned)]
    losses = []
    for each, model, given in zip((task, turned), models, (batch, turned_batch), strict=True):
        torch.manual_seed(0)
        losses.append(float(each.loss(model, given, _config())))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    with torch.inference_mode():
        first, second = (each.outputs(m, batch) for each, m in zip((task, turned), models, strict=True))
    assert torch.equal(first[:, [2, 0, 1]], second)


@pytest.mark.parametrize("kind", OWN_HEADS)
def test_other_classes_get_a_new_head_of_their_number(tmp_path: Path, split_of: SplitOf, kind: str) -> None:
    task = _task(save_own_head(tmp_path, kind), NEW)
    assert task.fresh_head
    assert task.head_source(PLAIN) is HeadSource.NEW
    models = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        models.append(task.assemble(PLAIN, share=True))
    batch = eval_batches(_split(split_of, task.resize.height, classes=4), batch_size=3)[0]
    with torch.inference_mode():
        same, again, other = (task.outputs(model, batch) for model in models)
    assert same.shape[1] == 4
    assert torch.equal(same, again)
    assert not torch.equal(same, other)
    layer = models[0].get_submodule(task.family.classifier)
    held = task.model.get_submodule(task.family.classifier)
    assert len(layer.weight) == 4 + task.family.without_label
    assert len(held.weight) == 3 + task.family.without_label, "the worker's model stays"
    assert models[0].config.id2label == dict(enumerate(NEW))
    if kind != "segformer":
        assert len(models[0].criterion.empty_weight) == 5
    assert float(task.loss(models[0], batch, PLAIN)) > 0
    kept = {n for n, p in models[0].named_parameters() if torch.equal(p, _same(task.model, n, p))}
    assert {n for n, _ in models[0].named_parameters()} - kept == {
        f"{task.family.classifier}.{part}" for part in ("weight", "bias")
    }, "the rest of the head is the checkpoint's"


def _same(model: Any, name: str, parameter: Tensor) -> Tensor:
    held: Tensor = model.get_parameter(name)
    return held if held.shape == parameter.shape else torch.full_like(parameter, math.nan)


def test_only_some_known_classes_are_refused(tmp_path: Path) -> None:
    folder = save_own_head(tmp_path, "segformer")
    with pytest.raises(ModelError, match=r"must include all of the data's 3 classes or none, but lack 'B'"):
        _task(folder, ("ground", "a", "B"))
    assert _task(folder, ("ground", "a", "B"), new_head=True).fresh_head
    with pytest.raises(ModelError, match=r"knows the classes .* by another spelling"):
        _task(folder, ("Ground", "A"))


def test_labels_that_are_not_those_of_outputs_are_refused(tmp_path: Path) -> None:
    folder = save_own_head(tmp_path, "mask2former")
    _change(folder, id2label={"0": "ground", "1": "a", "3": "b"})
    with pytest.raises(ModelError, match=r"id2label must number its 3 labels from 0 to 2, got 0, 1, 3"):
        _task(folder)


@pytest.mark.parametrize("kind", OWN_HEADS)
def test_settings_of_our_heads_and_losses_are_refused(tmp_path: Path, kind: str) -> None:
    task = _task(save_own_head(tmp_path, kind), NEW)
    with pytest.raises(ModelError, match=f"loss 'dice': {kind} uses its own loss, .*; remove it"):
        task.assemble(_config(loss="dice"), share=True)
    with pytest.raises(ModelError, match=f"head: {kind} uses its own head; remove its settings"):
        task.assemble(_config(head={"kind": "linear"}), share=True)
    frozen = TrialConfig.model_validate_json('{"adapter": "lora", "freeze_head": true}')
    with pytest.raises(ModelError, match=r"freeze_head: the checkpoint has no label 'plain'.*head is new"):
        task.assemble(frozen, share=True)


def test_sizes_that_a_model_does_not_see_as_a_whole_are_refused(tmp_path: Path) -> None:
    segformer, mask2former, eomt = (
        save_own_head(tmp_path / kind, kind) for kind in ("segformer", "mask2former", "eomt")
    )
    with pytest.raises(ModelError, match=r"multiples of 32 \(in each stage.*got \[48, 80\]; use \[64, 64\]"):
        _task(segformer, image_size=(48, 80))
    with pytest.raises(ModelError, match=r"multiples of 32 \(the stride.*got \[64, 72\]; use \[64, 64\]"):
        _task(mask2former, image_size=(64, 72))
    with pytest.raises(ModelError, match=r"\[32, 32\] gives a coarsest map of one value.*use \[64, 64\]"):
        _task(mask2former, image_size=(32, 32))
    with pytest.raises(ModelError, match=r"eomt takes images of the size in its config.*use \[32, 32\]"):
        _task(eomt, image_size=(64, 64))
    assert _task(eomt, image_size=(32, 32)).resize.height == 32
    _change(eomt, image_size=36)
    with pytest.raises(ModelError, match="image_size must be a multiple of the patch, 8 pixels, got 36"):
        _task(eomt)
    _change(segformer, reshape_last_stage=False)
    with pytest.raises(ModelError, match="reshape_last_stage is false"):
        _task(segformer)


def _change(folder: Path, **values: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))


@pytest.mark.parametrize("kind", OWN_HEADS)
def test_a_batch_of_ignored_pixels_only_has_a_finite_loss(
    tmp_path: Path, split_of: SplitOf, kind: str
) -> None:
    """A random crop may hold nothing else; an image that does is refused when data are prepared."""
    task = _task(save_own_head(tmp_path, kind))
    batch = eval_batches(_split(split_of, task.resize.height), batch_size=3)[0]
    assert batch.masks is not None
    batch.masks.fill_(IGNORE)
    model = task.assemble(_config(), share=False).requires_grad_(True)
    loss = task.loss(model, batch, _config())
    loss.backward()
    assert math.isfinite(loss.item())
    assert (loss.item() == 0) is (kind == "segformer")
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("kind", sorted(set(OWN_HEADS) - {"segformer"}))
def test_a_value_past_the_labels_is_not_taken_as_no_object(
    tmp_path: Path, split_of: SplitOf, kind: str
) -> None:
    for number, classes in enumerate((KNOWN, NEW)):
        task = _task(save_own_head(tmp_path / str(number), kind), classes)
        batch = eval_batches(_split(split_of, task.resize.height), batch_size=3)[0]
        assert batch.masks is not None
        batch.masks[0, 5, 5] = len(classes)
        model = task.assemble(_config(), share=True)
        with pytest.raises(
            ModelError, match=rf"has {len(classes)} labels, 0 to {len(classes) - 1}, but a mask"
        ):
            task.loss(model, batch, _config())


def test_a_segformer_pretrained_on_classes_of_images_gets_a_whole_new_head(
    tmp_path: Path, split_of: SplitOf
) -> None:
    config = SegformerConfig(**OWN_HEADS["segformer"][2])
    SegformerForImageClassification(config).save_pretrained(tmp_path)
    ViTImageProcessorPil(size={"height": LARGE, "width": LARGE}).save_pretrained(tmp_path)
    task = _task(tmp_path)
    assert task.fresh_head
    assert not task.has_head
    first, second = (task.assemble(PLAIN, share=True) for _ in range(2))
    for name in ("linear_fuse", "classifier"):
        one, other = (m.decode_head.get_submodule(name).weight for m in (first, second))
        assert not torch.equal(one, other), "drawn for each trial"
    assert all(torch.isfinite(p).all() for p in first.parameters())
    batch = eval_batches(_split(split_of, LARGE), batch_size=3)[0]
    assert task.outputs(first, batch).shape == (3, 3, LARGE, LARGE)
    frozen = TrialConfig.model_validate_json('{"adapter": "lora", "freeze_head": true}')
    with pytest.raises(ModelError, match="freeze_head: the checkpoint has no head, so its head is new"):
        task.assemble(frozen, share=True)
    images = torch.randn(1, 3, LARGE, LARGE, generator=torch.Generator().manual_seed(0))
    theirs = SegformerForImageClassification.from_pretrained(tmp_path).eval().segformer
    with torch.no_grad():
        assert torch.equal(first.segformer(images).last_hidden_state, theirs(images).last_hidden_state)


def test_a_segformer_with_a_part_of_its_head_is_refused(tmp_path: Path) -> None:
    folder = save_own_head(tmp_path, "segformer")
    held = load_file(folder / "model.safetensors")
    kept = {name: tensor for name, tensor in held.items() if "linear_fuse" not in name}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks 1 of Segformer.*weights \(decode_head.linear_fuse"):
        _task(folder)
