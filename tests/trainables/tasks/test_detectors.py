"""Every supported detector family, tiny and random: two steps, metrics, the processor's postprocessing."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForObjectDetection,
    ResNetConfig,
    RTDetrConfig,
    YolosConfig,
)
from transformers.models.conditional_detr.image_processing_pil_conditional_detr import (
    ConditionalDetrImageProcessorPil,
)
from transformers.models.deformable_detr.image_processing_pil_deformable_detr import (
    DeformableDetrImageProcessorPil,
)
from transformers.models.detr.image_processing_pil_detr import DetrImageProcessorPil

from tests.trainables.tasks.conftest import CPU, PLAIN, load
from trainables.adapters.inject import inject_adapter
from trainables.data.loader import batch_of, eval_batches
from trainables.data.prepared import PreparedSplit
from trainables.errors import ModelError
from trainables.models.build import build_model
from trainables.specs.trial import Precision, TrialConfig
from trainables.specs.workload import ModelSpec, Task
from trainables.tasks.base import pixels
from trainables.tasks.detectors import DETECTOR_FAMILIES, DetectorFamily, detector_family
from trainables.tasks.registry import resize_of
from trainables.training.initial_look import TrainingProbe

LABELS = {0: "cat", 1: "N/A", 2: "dog"}
CLASSES = ("dog", "cat")
PROCESSORS: dict[str, Any] = {
    "detr": DetrImageProcessorPil,
    "table-transformer": DetrImageProcessorPil,
    "conditional_detr": ConditionalDetrImageProcessorPil,
    "dab-detr": ConditionalDetrImageProcessorPil,
    "deformable_detr": DeformableDetrImageProcessorPil,
}
KINDS = [*((kind, {}) for kind in PROCESSORS), ("deformable_detr", {"with_box_refine": True})]


def save(path: Path, kind: str, changes: dict[str, Any]) -> Path:
    """A random model of a kind, with its processor."""
    wide = "hidden_size" if kind == "dab-detr" else "d_model"
    stages = ["stage3", "stage4"] if kind == "deformable_detr" else ["stage4"]
    levels = {"num_feature_levels": 2} if kind == "deformable_detr" else {}
    backbone = ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1], layer_type="basic",
        out_features=stages,
    )  # fmt: skip
    settings = {
        "backbone_config": backbone, "use_timm_backbone": False, "use_pretrained_backbone": False,
        "backbone": None, wide: 64, "encoder_layers": 1, "decoder_layers": 2, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "num_queries": 6,
        "auxiliary_loss": True, "id2label": LABELS, "label2id": {name: i for i, name in LABELS.items()},
    }  # fmt: skip
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **(settings | levels | changes))
    model = AutoModelForObjectDetection.from_config(config)
    for name, parameter in model.named_parameters():
        if name.startswith(("class_", "bbox_")):
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(path)
    PROCESSORS[kind](size={"shortest_edge": 32, "longest_edge": 48}).save_pretrained(path)
    return path


@pytest.fixture
def split(split_of: Callable[..., PreparedSplit]) -> PreparedSplit:
    """Four images of two sizes."""
    rng = np.random.default_rng(0)
    sizes = [(32, 48), (32, 32), (32, 48), (32, 32)]
    images = [rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in sizes]
    rows = [
        {
            "boxes": [[4.0, 5.0, 16.0, 20.0], [1.0, 2.0, 9.0, 8.0]][: 1 + number % 2],
            "labels": [0, 1][: 1 + number % 2],
            "areas": [320.0, 72.0][: 1 + number % 2],
            "crowds": [False, False][: 1 + number % 2],
        }
        for number in range(4)
    ]
    return split_of(Task.DETECTION, images, rows)


def test_all_kinds_are_tried_here_or_in_test_detection() -> None:
    assert set(PROCESSORS) | {"yolos"} == set(DETECTOR_FAMILIES)


@pytest.mark.parametrize(("kind", "changes"), KINDS)
@pytest.mark.parametrize("classes", [CLASSES, ("zebra", "okapi", "emu", "gnu")])
def test_two_steps_and_metrics(
    tmp_path: Path, split: PreparedSplit, kind: str, changes: dict[str, Any], classes: tuple[str, ...]
) -> None:
    task: Any = load(Task.DETECTION, str(save(tmp_path / "model", kind, changes)), classes)
    assert task.fresh_head == ("zebra" in classes)
    assert len(task.layout.blocks) == 3
    pristine = {n: p.clone() for n, p in task.model.state_dict().items()}
    model = task.assemble(PLAIN, share=True)
    names = task.head_names(model)
    head = [p.requires_grad_(True) for n, p in model.named_parameters() if n in names]
    assert {id(p) for p in head} == {id(t) for t in task.family.head(model)}
    batch = eval_batches(split, batch_size=4)[0]
    optimizer = torch.optim.AdamW(head, lr=1e-2)
    losses = []
    for _ in range(3):
        loss = task.loss(model, batch, PLAIN)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in head)
        optimizer.step()
    assert losses[2] < losses[0]
    assert all(torch.equal(p, pristine[n]) for n, p in task.model.state_dict().items())
    known = len(classes) if task.fresh_head else len(LABELS)
    assert task.outputs(model, batch).shape == (4, 6, task.family.outputs(known) + 4)
    for precision in (Precision.FP32, Precision.BF16):
        with torch.inference_mode():
            metrics = task.evaluate(model, split, batch_size=3, device=CPU, precision=precision, config=PLAIN)
        assert all(math.isfinite(v) for v in metrics.values())
        assert {"map", "loss", f"map/{classes[0]}"} <= set(metrics)


@pytest.mark.parametrize(("kind", "changes"), KINDS)
def test_loss_and_detections_are_transformers_own(
    tmp_path: Path, split: PreparedSplit, kind: str, changes: dict[str, Any]
) -> None:
    folder = save(tmp_path / "model", kind, changes)
    task: Any = load(Task.DETECTION, str(folder), tuple(LABELS.values()))
    plain = AutoModelForObjectDetection.from_pretrained(folder).eval()
    batch = eval_batches(split, batch_size=4)[0]
    mask = torch.zeros(4, 32, 48, dtype=torch.int64)
    for image, (height, width) in zip(mask, batch.valid, strict=True):
        image[:height, :width] = 1
    with torch.no_grad():
        expected = plain(pixels(batch, task.scale), pixel_mask=mask, labels=batch.targets)
    model = task.assemble(PLAIN, share=True)
    assert task.loss(model, batch, PLAIN).item() == pytest.approx(expected.loss.item(), rel=1e-5)
    truths = [split.truth(i) for i in range(4)]
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    read = processor.post_process_object_detection(
        expected, threshold=0.0, target_sizes=[(t.height, t.width) for t in truths]
    )
    for own, other in zip(task._detections(expected.logits, expected.pred_boxes, truths), read, strict=True):
        corners = np.concatenate([own.boxes[:, :2], own.boxes[:, :2] + own.boxes[:, 2:]], axis=1)
        theirs = {name: value.numpy() for name, value in other.items()}
        # Scores may be alike to the last bit, so the order is that of labels and boxes.
        mine = np.lexsort((corners[:, 0], own.labels))
        order = np.lexsort((theirs["boxes"][:, 0], theirs["labels"]))
        assert np.allclose(own.scores[mine], theirs["scores"][order], atol=1e-6)
        assert (own.labels[mine] == theirs["labels"][order]).all()
        assert np.allclose(corners[mine], theirs["boxes"][order], atol=1e-3)


@pytest.mark.parametrize("by_level", [True, False])
@pytest.mark.parametrize(("kind", "changes"), KINDS)
def test_lanes_of_one_joint_pass_have_the_losses_of_their_own_batches(
    tmp_path: Path, split: PreparedSplit, kind: str, changes: dict[str, Any], by_level: bool
) -> None:
    folder = save(tmp_path / "model", kind, changes | {"auxiliary_loss": by_level})
    task: Any = load(Task.DETECTION, str(folder), CLASSES)
    model = task.assemble(PLAIN, share=True)
    batches = [batch_of(split, indices) for indices in ([0, 2], [1, 2])]
    with torch.no_grad():
        joint = task.lane_losses(model, batches, [PLAIN] * 2)
        alone = [task.loss(model, batch, PLAIN) for batch in batches]
    torch.testing.assert_close(joint, torch.stack(alone), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("kind", "changes"), KINDS)
def test_adapters_fit_and_train(
    tmp_path: Path, split: PreparedSplit, kind: str, changes: dict[str, Any]
) -> None:
    task: Any = load(Task.DETECTION, str(save(tmp_path / "model", kind, changes)), CLASSES)
    config = TrialConfig.model_validate_json('{"adapter": "lora"}')
    model = task.assemble(config, share=True)
    head = task.head_names(model)
    adapted = inject_adapter(model, config, task.layout, total_steps=10)
    assert task.head_names(model) == head
    own = [p for n, p in model.named_parameters() if n in adapted.parameter_names()]
    task.loss(model, eval_batches(split, batch_size=4)[0], config).backward()
    assert own
    assert all(p.grad is not None for p in own)
    assert any(bool(p.grad.any()) for p in own)


@pytest.mark.parametrize("init", ["eva", "lora_ga"])
@pytest.mark.parametrize(("kind", "changes"), KINDS)
def test_initial_weights_from_images_fit_every_kind(
    tmp_path: Path, split: PreparedSplit, kind: str, changes: dict[str, Any], init: str
) -> None:
    task: Any = load(Task.DETECTION, str(save(tmp_path / "model", kind, changes)), CLASSES)
    given = {"adapter": "lora", "targets": ["value"], "lora": {"init": init, "rank": 2}}
    config = TrialConfig.model_validate_json(json.dumps(given))
    plain = task.outputs(task.assemble(PLAIN, share=True), eval_batches(split, batch_size=4)[0])
    start = TrainingProbe(task, split, config, CPU)
    built = build_model(task, config, total_steps=10, start=start)
    assert sum(built.adapted.ranks().values()) == 2 * len(task.layout.targets(config.roles))
    with torch.no_grad():
        ours = task.outputs(built.model, eval_batches(split, batch_size=4)[0])
    torch.testing.assert_close(ours, plain, atol=1e-3, rtol=1e-3)


def test_only_known_labels_answer_by_sigmoid() -> None:
    logits = torch.tensor([[[9.0, 5.0, 1.0], [0.0, 8.0, 2.0]]])
    boxes = torch.tensor([[[0.1] * 4, [0.2] * 4]])
    scores, labels, places = DetectorFamily(no_object=False).scores(logits, boxes, torch.tensor([2, 0]))
    assert torch.equal(scores, torch.tensor([[1.0, 9.0, 2.0, 0.0]]).sigmoid())
    assert labels.tolist() == [[0, 1, 0, 1]]
    assert places[0, :, 0].tolist() == pytest.approx([0.1, 0.1, 0.2, 0.2])


def test_a_new_focal_head_starts_with_low_scores(tmp_path: Path) -> None:
    folder = save(tmp_path / "model", "deformable_detr", {})
    model: Any = load(Task.DETECTION, str(folder), ("zebra",)).assemble(PLAIN, share=True)
    assert model.class_embed[0].bias.sigmoid().tolist() == pytest.approx([0.01])
    assert model.class_embed[0].weight is model.class_embed[1].weight


def test_other_kinds_are_refused_by_name(tmp_path: Path) -> None:
    RTDetrConfig().save_pretrained(tmp_path / "rt")
    DetrImageProcessorPil(size={"shortest_edge": 32, "longest_edge": 48}).save_pretrained(tmp_path / "rt")
    with pytest.raises(
        ModelError, match=r"rt_detr checkpoint; detection supports yolos, detr, table-transformer"
    ):
        resize_of(ModelSpec(name=str(tmp_path / "rt")), Task.DETECTION)
    folder = save(tmp_path / "two", "deformable_detr", {"with_box_refine": True, "two_stage": True})
    with pytest.raises(ModelError, match="two-stage"):
        load(Task.DETECTION, str(folder), CLASSES)


def test_a_yolos_that_cannot_compute_its_loss_is_refused() -> None:
    spec = ModelSpec(name="some/yolos")
    with pytest.raises(ModelError, match=r"auxiliary_loss to false in its config\.json"):
        detector_family(YolosConfig(auxiliary_loss=True), spec)
    assert detector_family(YolosConfig(), spec).no_object


ADAPTERS = ("lora", "adalora", "loha", "lokr", "serial_lora", "localized_lora")


@pytest.mark.parametrize(("kind", "changes"), KINDS)
def test_every_adapter_reaches_every_block(
    tmp_path: Path, split: PreparedSplit, kind: str, changes: dict[str, Any]
) -> None:
    task: Any = load(Task.DETECTION, str(save(tmp_path / "model", kind, changes)), CLASSES)
    batch = eval_batches(split, batch_size=4)[0]
    # Deformable attention has no query and key layers: its offsets are computed from the query directly.
    targets = ["value"] if kind == "deformable_detr" else ["query", "key", "value"]
    plain = task.outputs(task.assemble(PLAIN, share=True), batch)
    for adapter in ADAPTERS:
        config = TrialConfig.model_validate_json(json.dumps({"adapter": adapter, "targets": targets}))
        model = task.assemble(config, share=True)
        adapted = inject_adapter(model, config, task.layout_in(model), total_steps=10)
        assert torch.allclose(task.outputs(model, batch), plain, atol=1e-5), adapter
        task.loss(model, batch, config).backward()
        names = adapted.parameter_names()
        found = dict(model.named_parameters())
        assert all(found[n].grad is not None for n in names), adapter
        assert {task.layout.block_of(n) for n in names} == {0, 1, 2}, adapter
