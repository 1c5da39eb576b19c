"""Detection against transformers' own processor and loss, and pycocotools."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForObjectDetection
from transformers.models.yolos.image_processing_pil_yolos import YolosImageProcessorPil

from tests.trainables.tasks.conftest import CPU, PLAIN, load, tiny_yolos
from trainables.data.loader import Batch, batch_of, eval_batches
from trainables.data.prepared import PreparedSplit
from trainables.errors import ModelError
from trainables.metrics.coco import Backend, Detections, coco_metrics, coco_names
from trainables.specs.heads import HeadSource
from trainables.specs.trial import Precision, TrialConfig
from trainables.specs.workload import ModelSpec, Task
from trainables.tasks.base import TaskModel, pixels, split_by_size
from trainables.tasks.registry import resize_of

LABELS = {0: "cat", 1: "N/A", 2: "dog", 3: "N/A", 4: "bird"}
CLASSES = ("dog", "cat")
SIZES = [(32, 48), (32, 32), (48, 32), (32, 32), (32, 48)]
SplitOf = Callable[..., PreparedSplit]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "yolos"
    tiny_yolos(LABELS).save_pretrained(path)
    YolosImageProcessorPil(size={"shortest_edge": 32, "longest_edge": 48}).save_pretrained(path)
    return path


@pytest.fixture
def split(split_of: SplitOf) -> PreparedSplit:
    """Five images of three sizes; originals are larger than the stored images."""
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in SIZES]
    rows = []
    for number, (h, w) in enumerate(SIZES):
        height, width = 3 * h, 2 * w
        boxes = [
            [0.1 * width, 0.2 * height, 0.5 * width, 0.6 * height],
            [0.0, 0.0, 0.3 * width, 0.3 * height],
        ]
        rows.append(
            {
                "original_height": height,
                "original_width": width,
                "boxes": boxes[: number % 3],
                "labels": [0, 1][: number % 3],
                "areas": [0.8 * b[2] * b[3] for b in boxes[: number % 3]],
                "crowds": [False, number == 2][: number % 3],
            }
        )
    return split_of(Task.DETECTION, images, rows)


def _evaluate(task: TaskModel, model: Any, split: PreparedSplit, **changes: Any) -> dict[str, float]:
    options: dict[str, Any] = {"batch_size": 2, "device": CPU, "precision": Precision.FP32, "config": PLAIN}
    with torch.inference_mode():
        return task.evaluate(model, split, **(options | changes))


def _pictures(split: PreparedSplit, batch: Batch) -> list[Image.Image]:
    return [Image.fromarray(split.image(i)) for i in batch.indices]


def test_pixels_are_the_processors_padding_included(folder: Path, split: PreparedSplit) -> None:
    task = load(Task.DETECTION, str(folder), CLASSES)
    batch = eval_batches(split, batch_size=3)[0]
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    expected = processor(_pictures(split, batch), return_tensors="pt", do_resize=False)["pixel_values"]
    assert expected.shape[-2:] == (48, 48)
    assert torch.allclose(pixels(batch, task.scale), expected, atol=1e-5)


def test_unpadded_pieces_hold_every_image_once_with_its_own_boxes(split: PreparedSplit) -> None:
    batch = eval_batches(split, batch_size=5)[0]
    pieces = list(split_by_size(batch))
    assert sorted(i for p in pieces for i in p.indices) == [0, 1, 2, 3, 4]
    assert {tuple(p.images.shape[-2:]) for p in pieces} == set(SIZES)
    for piece in pieces:
        for place, index in enumerate(piece.indices):
            truth = split.truth(index)
            boxes = piece.targets[place]["boxes"].numpy()
            kept = truth.boxes[~truth.crowds]
            size = np.array([truth.width, truth.height] * 2)
            expected = np.concatenate([kept[:, :2] + kept[:, 2:] / 2, kept[:, 2:]], axis=1) / size
            assert np.allclose(boxes, expected, atol=1e-6)
            assert torch.equal(piece.images[place], torch.from_numpy(split.planes(index).copy()))


def test_loss_is_the_models_own(folder: Path, split: PreparedSplit) -> None:
    task = load(Task.DETECTION, str(folder), CLASSES)
    batch = eval_batches(split, batch_size=5)[0]
    plain = AutoModelForObjectDetection.from_pretrained(folder)
    labels = [
        {"boxes": t["boxes"], "class_labels": torch.tensor([2, 0])[t["class_labels"]]} for t in batch.targets
    ]
    expected = plain(pixels(batch, task.scale), labels=labels).loss
    model = task.assemble(PLAIN, share=True).requires_grad_(True)
    own = task.loss(model, batch, PLAIN)
    assert own.item() == pytest.approx(expected.item(), rel=1e-6)
    own.backward()
    assert all(p.grad is not None for n, p in model.named_parameters() if n in task.head_names(model))


def test_lanes_of_one_joint_pass_have_the_losses_of_their_own_batches(
    folder: Path, split: PreparedSplit
) -> None:
    task: Any = load(Task.DETECTION, str(folder), CLASSES)
    model = task.assemble(PLAIN, share=True)
    batches = [batch_of(split, indices) for indices in ([1, 3], [3, 1], [1, 1])]
    with torch.no_grad():
        joint = task.lane_losses(model, batches, [PLAIN] * 3)
        alone = [task.loss(model, batch, PLAIN) for batch in batches]
    assert joint.shape == (3,)
    torch.testing.assert_close(joint, torch.stack(alone), rtol=1e-6, atol=1e-6)


def test_inputs_of_layers_for_initial_weights_are_those_of_all_tokens(
    folder: Path, split: PreparedSplit
) -> None:
    """EVA looks at the inputs of a layer through `outputs`, and PEFT's own at all tokens."""
    task: Any = load(Task.DETECTION, str(folder), CLASSES)
    model: Any = task.assemble(PLAIN, share=True)
    seen: list[int] = []
    query = model.vit.encoder.layer[-1].attention.attention.query
    query.register_forward_hook(lambda _, given, __: seen.append(given[0].shape[1]))
    batch = batch_of(split, [1])
    task.outputs(model, batch)
    task.loss(model, batch, PLAIN)
    assert seen == [1 + 16 + 5, 5]


def test_evaluation_equals_the_processors_detections_through_pycocotools(
    folder: Path, split: PreparedSplit, split_of: SplitOf
) -> None:
    task: Any = load(Task.DETECTION, str(folder), ("cat", "dog", "bird"))
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    plain = AutoModelForObjectDetection.from_pretrained(folder)
    # Only labels that the data has can be predicted; the other two are made impossible here.
    with torch.no_grad():
        plain.class_labels_classifier.layers[-1].bias[[1, 3]] = -1e4
        task.model.class_labels_classifier.layers[-1].bias[[1, 3]] = -1e4
    number = {0: 0, 2: 1, 4: 2}
    rng = np.random.default_rng(0)
    found, rows = [], []
    for i in range(len(split)):
        inputs = processor(Image.fromarray(split.image(i)), return_tensors="pt", do_resize=False)
        height, width = (int(v) for v in split.original_sizes[i])
        with torch.no_grad():
            (result,) = processor.post_process_object_detection(
                plain(inputs["pixel_values"]), threshold=0.0, target_sizes=[(height, width)]
            )
        boxes = result["boxes"].numpy()
        boxes[:, 2:] -= boxes[:, :2]
        labels = np.array([number[label] for label in result["labels"].tolist()])
        found.append(Detections(boxes, result["scores"].numpy(), labels))
        near = boxes[:3] * rng.uniform(0.9, 1.1, (3, 4))  # the truth: a few of them, moved a little
        rows.append(
            {
                "original_height": height,
                "original_width": width,
                "boxes": near.tolist(),
                "labels": labels[:3].tolist(),
                "areas": (near[:, 2] * near[:, 3]).tolist(),
                "crowds": [False, False, i == 1],
            }
        )
    judged = split_of(Task.DETECTION, [split.image(i) for i in range(len(split))], rows)
    truths = [judged.truth(i) for i in range(len(judged))]
    expected = coco_metrics(truths, found, task.classes, backend=Backend.PYCOCOTOOLS)
    assert 0.1 < expected["map"] < 1
    metrics = _evaluate(task, task.assemble(PLAIN, share=True), judged)
    assert metrics.pop("loss") > 0
    assert metrics == pytest.approx(expected, abs=1e-6)


def test_metrics_do_not_depend_on_the_batch_size(folder: Path, split: PreparedSplit) -> None:
    task = load(Task.DETECTION, str(folder), CLASSES)
    model = task.assemble(PLAIN, share=True)
    one, three = (_evaluate(task, model, split, batch_size=size) for size in (1, 3))
    assert one == pytest.approx(three, rel=1e-4)


def test_a_shared_clone_holds_the_backbone_itself_and_a_head_of_its_own(folder: Path) -> None:
    task: Any = load(Task.DETECTION, str(folder), CLASSES)
    assert not task.fresh_head
    pristine = dict(task.model.named_parameters())
    shared, whole = (task.assemble(PLAIN, share=share) for share in (True, False))
    head = task.head_names(shared)
    assert {n.split(".")[0] for n in head} == {"class_labels_classifier", "bbox_predictor"}
    for name, parameter in shared.named_parameters():
        assert (parameter is pristine[name]) == (name not in head)
        assert torch.equal(parameter, pristine[name])
        assert not parameter.requires_grad
    assert not {id(p) for p in whole.parameters()} & {id(p) for p in pristine.values()}
    assert not shared.training


def test_every_detector_says_where_its_head_comes_from(tmp_path: Path) -> None:
    tiny_yolos({0: "a", 1: "b", 2: "c"}).save_pretrained(tmp_path)
    YolosImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    for classes, source in (
        (("a", "b", "c"), HeadSource.KEPT),
        (("c", "b", "a"), HeadSource.MAPPED),
        (("b", "c"), HeadSource.MAPPED),
        (("okapi",), HeadSource.NEW),
    ):
        assert load(Task.DETECTION, str(tmp_path), classes).head_source(PLAIN) is source


def test_labels_spelled_otherwise_are_refused_not_thrown_away(folder: Path) -> None:
    upper = tuple(f" {name.upper()}" for name in CLASSES)
    with pytest.raises(ModelError, match=r"did you mean .* by another spelling; rename them in the data"):
        load(Task.DETECTION, str(folder), upper)
    assert load(Task.DETECTION, str(folder), upper, new_head=True).fresh_head


def test_unknown_classes_get_a_new_last_layer_drawn_from_torchs_generator(folder: Path) -> None:
    task: Any = load(Task.DETECTION, str(folder), ("cat", "zebra"), new_head=True)
    assert task.fresh_head
    models = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        models.append(task.assemble(PLAIN, share=True))
    weights = [m.class_labels_classifier.layers[-1].weight for m in models]
    assert weights[0].shape == (3, 16)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    pristine = dict(task.model.named_parameters())
    for name, parameter in models[0].named_parameters():
        if not name.startswith("class_labels_classifier.layers.2"):
            assert torch.equal(parameter, pristine[name])
    assert models[0].config.num_labels == 2


def test_a_fresh_head_trains_and_is_judged(folder: Path, split: PreparedSplit) -> None:
    task = load(Task.DETECTION, str(folder), ("okapi", "zebra"))
    model = task.assemble(PLAIN, share=True)
    before = _evaluate(task, model, split)
    head = [p.requires_grad_(True) for n, p in model.named_parameters() if n in task.head_names(model)]
    optimizer = torch.optim.Adam(head, lr=0.02)
    batch = eval_batches(split, batch_size=5)[0]
    for _ in range(20):
        optimizer.zero_grad()
        task.loss(model, batch, PLAIN).backward()
        optimizer.step()
    assert _evaluate(task, model, split)["loss"] < before["loss"]


def test_names_map_eighty_classes_into_ninety_one_labels(tmp_path: Path, split: PreparedSplit) -> None:
    gaps = {0, 12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
    labels = {i: "N/A" if i in gaps else f"class {i}" for i in range(91)}
    tiny_yolos(labels).save_pretrained(tmp_path / "coco")
    YolosImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(tmp_path / "coco")
    classes = tuple(name for name in labels.values() if name != "N/A")
    assert len(classes) == 80
    task: Any = load(Task.DETECTION, str(tmp_path / "coco"), classes)
    assert not task.fresh_head
    assert task.ids.tolist() == [i for i in range(91) if i not in gaps]
    assert math.isfinite(_evaluate(task, task.assemble(PLAIN, share=True), split)["loss"])


def test_bfloat16_keeps_boxes_and_loss_in_float32(folder: Path, split: PreparedSplit) -> None:
    task = load(Task.DETECTION, str(folder), CLASSES)
    model = task.assemble(PLAIN, share=True)
    batch = eval_batches(split, batch_size=5)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs, loss = task.outputs(model, batch), task.loss(model, batch, PLAIN)
    assert outputs.dtype is loss.dtype is torch.float32
    exact = task.outputs(model, batch)
    assert not torch.equal(outputs, exact)
    assert torch.allclose(outputs[..., -4:], exact[..., -4:], atol=0.05)
    assert loss.item() == pytest.approx(task.loss(model, batch, PLAIN).item(), rel=0.1)
    metrics = _evaluate(task, model, split, precision=Precision.BF16)
    assert math.isfinite(metrics["loss"])


def test_non_finite_outputs_give_a_nan_loss_and_nan_metrics(folder: Path, split: PreparedSplit) -> None:
    task: Any = load(Task.DETECTION, str(folder), CLASSES)
    model: Any = task.assemble(PLAIN, share=False)
    with torch.no_grad():
        model.bbox_predictor.layers[0].weight.fill_(math.nan)
    assert math.isnan(task.loss(model, eval_batches(split, batch_size=2)[0], PLAIN).item())
    metrics = _evaluate(task, model, split)
    assert set(metrics) == {*coco_names(CLASSES), "loss"}
    assert all(math.isnan(value) for value in metrics.values())


def test_settings_of_segmentation_are_refused(folder: Path) -> None:
    task = load(Task.DETECTION, str(folder), CLASSES)
    for text in ('{"adapter": "none", "loss": "dice"}', '{"adapter": "none", "head": {"width": 9}}'):
        with pytest.raises(ModelError, match="detection"):
            task.assemble(TrialConfig.model_validate_json(text), share=True)


def test_yolos_sizes_follow_its_processor(folder: Path) -> None:
    rule = resize_of(ModelSpec(name=str(folder)), Task.DETECTION)
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    for height, width in ((100, 100), (90, 160), (200, 70), (33, 40)):
        picture = Image.new("RGB", (width, height))
        assert tuple(processor(picture, return_tensors="np")["pixel_values"].shape[-2:]) == rule.target(
            height, width
        )


def test_detr_works_too(tmp_path: Path, split: PreparedSplit) -> None:
    from transformers import DetrConfig, DetrForObjectDetection, ResNetConfig
    from transformers.models.detr.image_processing_pil_detr import DetrImageProcessorPil

    backbone = ResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 8, 8, 8],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage4"],
    )
    config = DetrConfig(
        backbone_config=backbone, use_timm_backbone=False, use_pretrained_backbone=False, backbone=None,
        d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=16, decoder_ffn_dim=16, num_queries=6, id2label=LABELS,
        label2id={name: i for i, name in LABELS.items()},
    )  # fmt: skip
    torch.manual_seed(0)
    DetrForObjectDetection(config).save_pretrained(tmp_path / "detr")
    DetrImageProcessorPil(size={"shortest_edge": 32, "longest_edge": 48}).save_pretrained(tmp_path / "detr")
    for classes in (CLASSES, ("zebra",)):
        task = load(Task.DETECTION, str(tmp_path / "detr"), classes)
        assert task.fresh_head == ("zebra" in classes)
        model = task.assemble(PLAIN, share=True)
        batch = eval_batches(split, batch_size=5)[0]
        if task.fresh_head:
            batch = Batch(
                batch.images, batch.valid, [_first_class(t) for t in batch.targets], None, batch.indices
            )
        assert math.isfinite(task.loss(model, batch, PLAIN).item())
        assert len(task.layout.blocks) == 2
    assert task.outputs(model, batch).shape == (5, 6, 2 + 4)


def _first_class(target: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {**target, "class_labels": torch.zeros_like(target["class_labels"])}
