"""Segmentation against a pipeline written out by hand, transformers' models and scikit-learn."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from sklearn.metrics import f1_score, jaccard_score
from torch.nn import functional
from transformers import (
    AutoImageProcessor,
    DeiTConfig,
    DeiTModel,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    ViTForImageClassification,
    ViTModel,
)
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from tests.trainables.tasks.conftest import CPU, PLAIN, load, vit_config
from trainables.data.loader import eval_batches
from trainables.data.prepared import PreparedSplit
from trainables.errors import ModelError
from trainables.specs.definitions import BEFORE
from trainables.specs.heads import HeadSource
from trainables.specs.trial import Loss, Precision, TrialConfig
from trainables.specs.workload import ModelSpec, Task, Workload
from trainables.tasks.base import TaskModel, pixels
from trainables.tasks.head import SegmentationHead
from trainables.tasks.losses import lane_losses
from trainables.tasks.registry import load_task, resize_of

CLASSES = ("ground", "a", "b")
SplitOf = Callable[..., PreparedSplit]


def _processor(path: Path, side: int = 32) -> None:
    ViTImageProcessorPil(
        size={"height": side, "width": side}, image_mean=[0.4, 0.5, 0.6], image_std=[0.2, 0.25, 0.3]
    ).save_pretrained(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "vit"
    torch.manual_seed(0)
    ViTModel(vit_config(), add_pooling_layer=False).save_pretrained(path)
    _processor(path)
    return path


@pytest.fixture
def with_head(folder: Path) -> Path:
    torch.manual_seed(1)
    save_file(SegmentationHead(16, 3).state_dict(), folder / "head.safetensors")
    (folder / "head.json").write_text(json.dumps({"classes": list(CLASSES)}))
    return folder


def _split(split_of: SplitOf, sizes: list[tuple[int, int]]) -> PreparedSplit:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in sizes]
    rows = []
    for h, w in sizes:
        mask = rng.integers(0, 3, (h, w), dtype=np.uint8)
        mask[:4] = 255
        rows.append({"mask": mask.tobytes()})
    return split_of(Task.SEGMENTATION, images, rows)


def _evaluate(task: TaskModel, model: Any, split: PreparedSplit, **changes: Any) -> dict[str, float]:
    options: dict[str, Any] = {"batch_size": 2, "device": CPU, "precision": Precision.FP32, "config": PLAIN}
    with torch.inference_mode():
        return task.evaluate(model, split, **(options | changes))


def _config(text: str) -> TrialConfig:
    return TrialConfig.model_validate_json(f'{{"adapter": "none", {text}}}')


def test_outputs_equal_the_pipeline_by_hand(with_head: Path, split_of: SplitOf) -> None:
    split = _split(split_of, [(32, 32)] * 3)
    task = load(Task.SEGMENTATION, str(with_head), CLASSES)
    processor = AutoImageProcessor.from_pretrained(with_head, backend="pil")
    images = processor([Image.fromarray(split.image(i)) for i in range(3)], return_tensors="pt")[
        "pixel_values"
    ]
    batch = eval_batches(split, batch_size=3)[0]
    assert torch.allclose(pixels(batch, task.scale), images, atol=1e-5)
    held = load_file(with_head / "head.safetensors")
    plain = ViTModel.from_pretrained(with_head, add_pooling_layer=False).eval()
    with torch.no_grad():
        maps = plain(images).last_hidden_state[:, 1:].transpose(1, 2).reshape(3, 16, 4, 4)
        maps = functional.relu(functional.conv2d(maps, held["reduce.weight"], held["reduce.bias"], padding=1))
        maps = functional.conv2d(maps, held["classify.weight"], held["classify.bias"])
        expected = functional.interpolate(maps, size=(32, 32), mode="bilinear")
        own = task.outputs(task.assemble(PLAIN, share=True), batch)
    assert torch.allclose(own, expected, atol=1e-4)


def test_a_grid_other_than_the_pretrained_one_interpolates_positions(folder: Path, split_of: SplitOf) -> None:
    split = _split(split_of, [(48, 64)])
    task = load(Task.SEGMENTATION, str(folder), CLASSES, image_size=(48, 64))
    assert (task.resize.height, task.resize.width) == (48, 64)
    model: Any = task.assemble(PLAIN, share=True)
    batch = eval_batches(split, batch_size=1)[0]
    images = pixels(batch, task.scale)
    plain = ViTModel.from_pretrained(folder, add_pooling_layer=False).eval()
    with torch.no_grad():
        tokens = plain(images, interpolate_pos_encoding=True).last_hidden_state[:, 1:]
        expected = model.head(tokens, grid=(6, 8), size=(48, 64))
        assert torch.allclose(task.outputs(model, batch), expected, atol=1e-5)


def test_a_classifiers_checkpoint_gives_the_same_backbone_under_old_names_too(tmp_path: Path) -> None:
    torch.manual_seed(0)
    classifier = ViTForImageClassification(vit_config(num_labels=4))
    new, old = tmp_path / "new", tmp_path / "old"
    for path in (new, old):
        classifier.save_pretrained(path)
        _processor(path)
    assert any(
        "attention.attention.query" in name for name in load_file(old / "model.safetensors")
    ) or _rename(old)
    tokens = classifier.vit.eval()
    images = torch.randn(1, 3, 32, 32)
    for path in (new, old):
        task: Any = load(Task.SEGMENTATION, str(path), CLASSES)
        assert task.fresh_head
        with torch.no_grad():
            own = task.assemble(PLAIN, share=True).backbone(images).last_hidden_state
            assert torch.allclose(own, tokens(images).last_hidden_state, atol=1e-5)


def _rename(path: Path) -> bool:
    """Gives a checkpoint the names that transformers 4 used."""
    names = {
        ".layers.": ".encoder.layer.", "attention.q_proj": "attention.attention.query",
        "attention.k_proj": "attention.attention.key", "attention.v_proj": "attention.attention.value",
        "attention.o_proj": "attention.output.dense", "mlp.fc1": "intermediate.dense",
        "mlp.fc2": "output.dense",
    }  # fmt: skip
    renamed = {}
    for name, tensor in load_file(path / "model.safetensors").items():
        for new, old in names.items():
            name = name.replace(new, old)
        renamed[name] = tensor
    save_file(renamed, path / "model.safetensors", metadata={"format": "pt"})
    return any("encoder.layer.0.attention.attention.query" in name for name in renamed)


@pytest.mark.parametrize("kind", ["deit", "registers"])
def test_every_token_before_the_patches_is_dropped(tmp_path: Path, split_of: SplitOf, kind: str) -> None:
    same = {
        "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24,
        "image_size": 32, "patch_size": 8,
    }  # fmt: skip
    torch.manual_seed(0)
    plain: Any
    if kind == "deit":
        plain, prefix = DeiTModel(DeiTConfig(**same), add_pooling_layer=False), 2
    else:
        plain, prefix = Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**same, num_register_tokens=3)), 4
    plain.save_pretrained(tmp_path)
    _processor(tmp_path)
    task = load(Task.SEGMENTATION, str(tmp_path), CLASSES)
    model: Any = task.assemble(PLAIN, share=True)
    batch = eval_batches(_split(split_of, [(32, 32)]), batch_size=1)[0]
    with torch.no_grad():
        tokens = plain.eval()(pixels(batch, task.scale)).last_hidden_state
        assert tokens.shape[1] == prefix + 16
        expected = model.head(tokens[:, prefix:], grid=(4, 4), size=(32, 32))
        assert torch.allclose(task.outputs(model, batch), expected, atol=1e-5)


def test_the_head_is_the_checkpoints_own_where_classes_and_shape_agree(with_head: Path) -> None:
    held = load_file(with_head / "head.safetensors")
    task: Any = load(Task.SEGMENTATION, str(with_head), CLASSES)
    assert not task.fresh_head
    for text in ('"seed": 0', '"head": {"dropout": 0.3}', '"head": {"width": 8}'):
        own = task.assemble(_config(text), share=True).head.state_dict()
        assert all(torch.equal(own[name], held[name]) for name in held)
    for text in ('"head": {"width": 5}', '"head": {"norm": true}'):
        own = task.assemble(_config(text), share=True).head.state_dict()
        assert not torch.equal(own["classify.bias"], held["classify.bias"])


def test_a_head_is_matched_by_the_names_of_its_classes(with_head: Path) -> None:
    held = load_file(with_head / "head.safetensors")
    name = str(with_head)
    kept: Any = load(Task.SEGMENTATION, name, CLASSES)
    assert kept.head_source(PLAIN) is HeadSource.KEPT
    assert kept.head_source(_config('"head": {"width": 5}')) is HeadSource.NEW
    for classes in (("ground", "b", "a"), ("b", "ground"), ("a",)):
        task: Any = load(Task.SEGMENTATION, name, classes)
        assert task.head_source(PLAIN) is HeadSource.MAPPED
        own = task.assemble(PLAIN, share=True).head.state_dict()
        rows = [CLASSES.index(each) for each in classes]
        for key in ("classify.weight", "classify.bias"):
            assert torch.equal(own[key], held[key][rows])
        assert torch.equal(own["reduce.weight"], held["reduce.weight"])
    for classes in (("ground", "c"), ("x", "y")):
        task = load(Task.SEGMENTATION, name, classes)
        assert task.fresh_head
        assert task.head_source(PLAIN) is HeadSource.NEW


def test_a_class_spelled_otherwise_than_in_the_head_is_refused(with_head: Path) -> None:
    name = str(with_head)
    with pytest.raises(ModelError, match=r"'Ground' \(did you mean 'ground'\?\), .* by another spelling"):
        load(Task.SEGMENTATION, name, ("Ground", "a ", "b"))
    fresh = load(Task.SEGMENTATION, name, ("Ground", "a ", "b"), new_head=True)
    assert fresh.head_source(PLAIN) is HeadSource.NEW


def test_an_experiment_of_before_keeps_its_new_head(with_head: Path) -> None:
    asked = Workload.model_validate_json('{"task": "segmentation", "objective": {"metric": "loss"}}')
    before = asked.model_copy(update={"model": ModelSpec(name=str(with_head)), "definitions": BEFORE})
    cpu = torch.device("cpu")
    for classes in (("ground", "b", "a"), ("Ground", "a", "b")):
        assert load_task(before, classes, cpu).head_source(PLAIN) is HeadSource.NEW
    assert load_task(before, CLASSES, cpu).head_source(PLAIN) is HeadSource.KEPT


def test_a_fresh_head_is_drawn_from_torchs_generator(folder: Path) -> None:
    task: Any = load(Task.SEGMENTATION, str(folder), CLASSES)
    weights = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        weights.append(task.assemble(PLAIN, share=True).head.classify.weight)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_clones_share_the_backbone_or_copy_it_and_own_their_heads(with_head: Path) -> None:
    task: Any = load(Task.SEGMENTATION, str(with_head), CLASSES)
    pristine = {f"backbone.{n}": p for n, p in task.backbone.named_parameters()}
    shared, other, whole = (task.assemble(PLAIN, share=share) for share in (True, True, False))
    head = task.head_names(shared)
    assert head
    assert {n for n, _ in shared.named_parameters()} == head | set(pristine)
    for name, parameter in shared.named_parameters():
        assert not parameter.requires_grad
        assert (parameter is pristine.get(name)) == (name not in head)
    assert not {id(dict(shared.named_parameters())[n]) for n in head} & {id(p) for p in other.parameters()}
    assert not {id(p) for p in whole.parameters()} & {id(p) for p in shared.parameters()}
    assert set(task.layout.blocks) <= {n for n, _ in shared.named_modules()}


@pytest.mark.parametrize("loss", list(Loss))
def test_loss_is_the_one_asked_for(with_head: Path, split_of: SplitOf, loss: Loss) -> None:
    task = load(Task.SEGMENTATION, str(with_head), CLASSES)
    model = task.assemble(PLAIN, share=True)
    batch = eval_batches(_split(split_of, [(32, 32)] * 3), batch_size=3)[0]
    own = task.loss(model, batch, _config(f'"loss": "{loss}"'))
    assert own.item() == pytest.approx(
        lane_losses(task.outputs(model, batch), batch.masks, loss, lanes=1).item()
    )
    if loss is Loss.CROSS_ENTROPY:
        assert task.loss(model, batch, PLAIN).item() == own.item()


def test_metrics_equal_sklearns_over_the_whole_set(with_head: Path, split_of: SplitOf) -> None:
    split = _split(split_of, [(32, 32)] * 5)
    task = load(Task.SEGMENTATION, str(with_head), CLASSES)
    model = task.assemble(PLAIN, share=True)
    batch = eval_batches(split, batch_size=5)[0]
    with torch.no_grad():
        logits = task.outputs(model, batch)
    kept = batch.masks.numpy() != 255
    truth, guess = batch.masks.numpy()[kept], logits.argmax(1).numpy()[kept]
    metrics = _evaluate(task, model, split)
    assert metrics["dice"] == pytest.approx(f1_score(truth, guess, average="macro"))
    assert metrics["iou"] == pytest.approx(jaccard_score(truth, guess, average="macro"))
    for name, value in zip(CLASSES, jaccard_score(truth, guess, average=None), strict=True):
        assert metrics[f"iou/{name}"] == pytest.approx(value)
    expected = functional.cross_entropy(logits, batch.masks.long(), ignore_index=255)
    assert metrics["loss"] == pytest.approx(expected.item(), rel=1e-5)
    assert 0 < metrics["soft_dice"] < 1


@pytest.mark.parametrize("sizes", [[(32, 32)] * 5, [(32, 48), (48, 32), (32, 32), (48, 32), (32, 48)]])
def test_metrics_do_not_depend_on_the_batch_size(
    with_head: Path, split_of: SplitOf, sizes: list[tuple[int, int]]
) -> None:
    split = _split(split_of, sizes)
    task = load(Task.SEGMENTATION, str(with_head), CLASSES)
    config = _config('"loss": "cross_entropy_dice"')
    model = task.assemble(config, share=True)
    one, three = (_evaluate(task, model, split, batch_size=size, config=config) for size in (1, 3))
    assert one == pytest.approx(three, rel=1e-4)


def test_bfloat16_gives_float32_logits_near_the_exact_ones(with_head: Path, split_of: SplitOf) -> None:
    split = _split(split_of, [(32, 32)] * 2)
    task = load(Task.SEGMENTATION, str(with_head), CLASSES)
    model = task.assemble(PLAIN, share=True)
    batch = eval_batches(split, batch_size=2)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs, loss = task.outputs(model, batch), task.loss(model, batch, PLAIN)
    exact = task.outputs(model, batch)
    assert outputs.dtype is loss.dtype is torch.float32
    assert not torch.equal(outputs, exact)
    assert torch.allclose(outputs, exact, atol=0.1)
    metrics = [_evaluate(task, model, split, precision=precision) for precision in Precision]
    assert metrics[0]["loss"] != metrics[1]["loss"]
    assert metrics[0]["loss"] == pytest.approx(metrics[1]["loss"], rel=0.05)


def test_non_finite_outputs_give_nan_metrics(with_head: Path, split_of: SplitOf) -> None:
    task = load(Task.SEGMENTATION, str(with_head), CLASSES)
    model: Any = task.assemble(PLAIN, share=False)
    with torch.no_grad():
        model.head.classify.bias.fill_(math.nan)
    metrics = _evaluate(task, model, _split(split_of, [(32, 32)] * 2))
    assert {"dice", "iou", "soft_dice", "loss"} <= metrics.keys()
    assert all(math.isnan(value) for value in metrics.values())


def test_sides_must_be_multiples_of_the_patch(folder: Path) -> None:
    for size in ((60, 64), (64, 60)):
        with pytest.raises(ModelError, match=r"multiples of the patch, 8×8 pixels.*use \[64, 64\]"):
            resize_of(ModelSpec(name=str(folder), image_size=size), Task.SEGMENTATION)
    assert resize_of(ModelSpec(name=str(folder), image_size=(64, 40)), Task.SEGMENTATION).target(9, 9) == (
        64,
        40,
    )


def test_a_damaged_head_is_named(with_head: Path) -> None:
    (with_head / "head.safetensors").write_bytes(b"torn")
    with pytest.raises(ModelError, match=r"cannot read the head.*head\.json"):
        load(Task.SEGMENTATION, str(with_head), CLASSES)
