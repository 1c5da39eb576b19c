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
    AutoImageProcessor,
    AutoModelForObjectDetection,
    SegformerConfig,
    YolosConfig,
)
from transformers.models.detr.image_processing_pil_detr import DetrImageProcessorPil

from tests.support.saved_detectors import KINDS, LABELS, MODERN, QUERIES, SIDE, save_detector
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

CLASSES = ("dog", "cat")
DETRS = [kind for kind, (family, _) in KINDS.items() if family not in MODERN]


@pytest.fixture
def split(split_of: Callable[..., PreparedSplit]) -> Callable[[str], PreparedSplit]:
    """Four images for a kind of model, of two sizes if it takes them."""

    def of(kind: str) -> PreparedSplit:
        rng = np.random.default_rng(0)
        apart = [(32, 48), (32, 32), (32, 48), (32, 32)]
        sizes = [(SIDE, SIDE)] * 4 if KINDS[kind][0] in MODERN else apart
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

    return of


def test_all_kinds_are_tried_here_or_in_test_detection() -> None:
    assert {family for family, _ in KINDS.values()} | {"yolos"} == set(DETECTOR_FAMILIES)
    assert {kind for kind, family in DETECTOR_FAMILIES.items() if family.own_loss} == MODERN
    assert Task.DETECTION.facts.own_losses == MODERN


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("classes", [CLASSES, ("zebra", "okapi", "emu", "gnu")])
def test_two_steps_and_metrics(
    tmp_path: Path, split: Callable[[str], PreparedSplit], kind: str, classes: tuple[str, ...]
) -> None:
    task: Any = load(Task.DETECTION, str(save_detector(tmp_path / "model", kind)), classes)
    assert task.fresh_head == ("zebra" in classes)
    pristine = {n: p.clone() for n, p in task.model.state_dict().items()}
    torch.manual_seed(0)
    model = task.assemble(PLAIN, share=True)
    names = task.head_names(model)
    head = {n: p.requires_grad_(True) for n, p in model.named_parameters() if n in names}
    assert {id(p) for p in head.values()} == {id(t) for t in task.family.head_tensors(model)}
    part = split(kind)
    batch = eval_batches(part, batch_size=4)[0]
    optimizer = torch.optim.AdamW(head.values(), lr=1e-2)
    losses = []
    for module in (model.get_submodule(name) for name in task.training_modules(model)):
        module.training = True
    for _ in range(3):
        torch.manual_seed(0)
        loss = task.loss(model, batch, PLAIN)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        assert {n for n, p in head.items() if p.grad is None} == set()
        assert all(bool(torch.isfinite(p.grad).all()) for p in head.values())
        optimizer.step()
    assert losses[2] < losses[0]
    assert all(torch.equal(p, pristine[n]) for n, p in task.model.state_dict().items())
    model.eval()
    known = len(classes) if task.fresh_head else len(LABELS)
    queries = QUERIES if KINDS[kind][0] in MODERN else 4 if "two-stage" in kind else 6
    assert task.outputs(model, batch).shape == (4, queries, task.family.outputs(known) + 4)
    for precision in (Precision.FP32, Precision.BF16):
        with torch.inference_mode():
            metrics = task.evaluate(model, part, batch_size=3, device=CPU, precision=precision, config=PLAIN)
        assert all(math.isfinite(v) for v in metrics.values())
        assert {"map", "loss", f"map/{classes[0]}"} <= set(metrics)
    with torch.inference_mode():
        one, four = (
            task.evaluate(model, part, batch_size=n, device=CPU, precision=Precision.FP32, config=PLAIN)
            for n in (1, 4)
        )
    assert one == pytest.approx(four, rel=1e-4)


def _mask(batch: Any) -> torch.Tensor:
    mask = torch.zeros(len(batch.valid), *batch.images.shape[-2:], dtype=torch.int64)
    for image, (height, width) in zip(mask, batch.valid, strict=True):
        image[:height, :width] = 1
    return mask


@pytest.mark.parametrize("kind", KINDS)
def test_loss_and_detections_are_transformers_own(
    tmp_path: Path, split: Callable[[str], PreparedSplit], kind: str
) -> None:
    folder = save_detector(tmp_path / "model", kind)
    task: Any = load(Task.DETECTION, str(folder), tuple(LABELS.values()))
    plain = AutoModelForObjectDetection.from_pretrained(folder).eval()
    part = split(kind)
    batch = eval_batches(part, batch_size=4)[0]
    with torch.no_grad():
        expected = plain(pixels(batch, task.scale), pixel_mask=_mask(batch), labels=batch.targets)
    model = task.assemble(PLAIN, share=True)
    if not task.family.groups and "two-stage" not in kind:  # see the tests of both below
        assert task.loss(model, batch, PLAIN).item() == pytest.approx(expected.loss.item(), rel=1e-5)
    truths = [part.truth(i) for i in range(4)]
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    read = processor.post_process_object_detection(
        expected, threshold=0.0, target_sizes=[(t.height, t.width) for t in truths]
    )
    for own, other in zip(task._detections(expected, truths), read, strict=True):
        corners = np.concatenate([own.boxes[:, :2], own.boxes[:, :2] + own.boxes[:, 2:]], axis=1)
        theirs = {name: value.numpy() for name, value in other.items()}
        # Scores may be alike to the last bit, so the order is that of labels and boxes.
        mine = np.lexsort((corners[:, 0], own.labels))
        order = np.lexsort((theirs["boxes"][:, 0], theirs["labels"]))
        assert np.allclose(own.scores[mine], theirs["scores"][order], atol=1e-6)
        assert (own.labels[mine] == theirs["labels"][order]).all()
        assert np.allclose(corners[mine], theirs["boxes"][order], atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("objects", ["one to many", "none in an image", "none at all"])
def test_loss_and_gradients_in_training_are_transformers_own(
    tmp_path: Path, split: Callable[[str], PreparedSplit], kind: str, objects: str
) -> None:
    """Denoising queries, levels and groups included; all is trained, with frozen running statistics."""
    folder = save_detector(tmp_path / "model", kind, **({} if kind in MODERN else {"dropout": 0.0}))
    task: Any = load(Task.DETECTION, str(folder), tuple(LABELS.values()))
    plain = AutoModelForObjectDetection.from_pretrained(folder)
    batch = eval_batches(split(kind), batch_size=4)[0]
    for number, target in enumerate(batch.targets):
        if objects == "none at all" or (objects == "none in an image" and number == 1):
            target["boxes"], target["class_labels"] = target["boxes"][:0], target["class_labels"][:0]
    model = task.assemble(PLAIN, share=False)
    found: list[tuple[float, dict[str, torch.Tensor]]] = []
    for each in (plain, model):
        each.requires_grad_(True).train()
        for module in each.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eval()
        torch.manual_seed(3)
        if each is plain:
            given = {"pixel_mask": _mask(batch), "labels": batch.targets}
            out = plain(pixels(batch, task.scale), **given)
            loss = out.loss
            if "two-stage" in kind:
                loss = loss + task._loss_of_proposals(out, batch.targets, 1)[0]
        else:
            loss = task.loss(each, batch, PLAIN)
        loss.backward()
        own = {n: p.grad for n, p in each.named_parameters() if p.grad is not None}
        found.append((loss.item(), own))
    (expected, gradients), (ours, mine) = found
    assert ours == pytest.approx(expected, rel=1e-6)
    assert {name for name, g in gradients.items() if bool(g.any())} <= set(mine)
    largest = max(float(g.abs().max()) for g in gradients.values())
    for name, gradient in gradients.items():
        if name in mine:
            torch.testing.assert_close(mine[name], gradient, rtol=1e-4, atol=1e-6 * max(1.0, largest))


@pytest.mark.parametrize("by_level", [True, False])
@pytest.mark.parametrize("kind", DETRS)
def test_lanes_of_one_joint_pass_have_the_losses_of_their_own_batches(
    tmp_path: Path, split: Callable[[str], PreparedSplit], kind: str, by_level: bool
) -> None:
    folder = save_detector(tmp_path / "model", kind, auxiliary_loss=by_level)
    task: Any = load(Task.DETECTION, str(folder), CLASSES)
    assert task.packs
    model = task.assemble(PLAIN, share=True)
    batches = [batch_of(split(kind), indices) for indices in ([0, 2], [1, 2])]
    with torch.no_grad():
        joint = task.lane_losses(model, batches, [PLAIN] * 2)
        alone = [task.loss(model, batch, PLAIN) for batch in batches]
    torch.testing.assert_close(joint, torch.stack(alone), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", sorted(MODERN))
def test_a_loss_of_transformers_is_never_of_several_lanes(
    tmp_path: Path, split: Callable[[str], PreparedSplit], kind: str
) -> None:
    task: Any = load(Task.DETECTION, str(save_detector(tmp_path / "model", kind)), CLASSES)
    assert not task.packs
    batches = [batch_of(split(kind), [0]), batch_of(split(kind), [1])]
    with pytest.raises(ValueError, match="one lane"):
        task.lane_losses(task.assemble(PLAIN, share=True), batches, [PLAIN] * 2)


@pytest.mark.parametrize("kind", ["lw_detr", "rf_detr"])
def test_the_loss_in_evaluation_counts_one_group_of_queries(
    tmp_path: Path, split: Callable[[str], PreparedSplit], kind: str
) -> None:
    """transformers 5.24 matches an object to a query in each of `group_detr` groups, also in evaluation."""
    part = split(kind)
    batch = eval_batches(part, batch_size=4)[0]
    several = AutoModelForObjectDetection.from_pretrained(save_detector(tmp_path / "3", kind)).eval()
    one = AutoModelForObjectDetection.from_pretrained(save_detector(tmp_path / "1", kind, group_detr=1))
    held = several.state_dict()  # in evaluation only the first group is used
    one.load_state_dict({n: held[n][: len(t)] if t.ndim else held[n] for n, t in one.state_dict().items()})
    one.eval()
    task: Any = load(Task.DETECTION, str(tmp_path / "3"), tuple(LABELS.values()))
    with torch.inference_mode():
        model = task.assemble(PLAIN, share=True)
        metrics = task.evaluate(model, part, batch_size=4, device=CPU, precision=Precision.FP32, config=PLAIN)
        theirs, of_one = (
            each(pixels(batch, task.scale), labels=batch.targets).loss.item() for each in (several, one)
        )
    assert metrics["loss"] == pytest.approx(of_one, rel=1e-5)
    assert theirs != pytest.approx(of_one, rel=1e-2)


@pytest.mark.parametrize("kind", KINDS)
def test_adapters_fit_and_train(tmp_path: Path, split: Callable[[str], PreparedSplit], kind: str) -> None:
    task: Any = load(Task.DETECTION, str(save_detector(tmp_path / "model", kind)), CLASSES)
    config = TrialConfig.model_validate_json('{"adapter": "lora"}')
    model = task.assemble(config, share=True)
    head = task.head_names(model)
    adapted = inject_adapter(model, config, task.layout, total_steps=10)
    assert task.head_names(model) == head
    own = [p for n, p in model.named_parameters() if n in adapted.parameter_names()]
    task.loss(model, eval_batches(split(kind), batch_size=4)[0], config).backward()
    assert own
    assert all(p.grad is not None for p in own)
    assert any(bool(p.grad.any()) for p in own)


@pytest.mark.parametrize("init", ["eva", "lora_ga"])
@pytest.mark.parametrize("kind", KINDS)
def test_initial_weights_from_images_fit_every_kind(
    tmp_path: Path, split: Callable[[str], PreparedSplit], kind: str, init: str
) -> None:
    task: Any = load(Task.DETECTION, str(save_detector(tmp_path / "model", kind)), CLASSES)
    rank = 1 if task.family.groups else 2  # few queries of so small a model have a gradient
    given = {"adapter": "lora", "targets": ["value"], "lora": {"init": init, "rank": rank}}
    config = TrialConfig.model_validate_json(json.dumps(given))
    part = split(kind)
    plain = task.outputs(task.assemble(PLAIN, share=True), eval_batches(part, batch_size=4)[0])
    start = TrainingProbe(task, part, config, CPU)
    built = build_model(task, config, total_steps=10, start=start)
    assert sum(built.adapted.ranks().values()) == rank * len(task.layout.targets(config.roles))
    with torch.no_grad():
        ours = task.outputs(built.model, eval_batches(part, batch_size=4)[0])
    torch.testing.assert_close(ours, plain, atol=1e-3, rtol=1e-3)


def test_only_known_labels_answer_by_sigmoid() -> None:
    logits = torch.tensor([[[9.0, 5.0, 1.0], [0.0, 8.0, 2.0]]])
    boxes = torch.tensor([[[0.1] * 4, [0.2] * 4]])
    ids = torch.tensor([2, 0])
    scores, labels, places = DetectorFamily(no_object=False).scores(logits, boxes, ids)
    assert torch.equal(scores, torch.tensor([[1.0, 9.0, 2.0, 0.0]]).sigmoid())
    assert labels.tolist() == [[0, 1, 0, 1]]
    assert places[0, :, 0].tolist() == pytest.approx([0.1, 0.1, 0.2, 0.2])
    scores, labels, places = DetectorFamily(no_object=False, best_queries=True).scores(logits, boxes, ids)
    assert torch.equal(scores, torch.tensor([[9.0, 2.0]]).sigmoid())
    assert labels.tolist() == [[1, 0]]
    assert places[0, :, 0].tolist() == pytest.approx([0.1, 0.2])


def test_a_new_focal_head_starts_with_low_scores(tmp_path: Path) -> None:
    folder = save_detector(tmp_path / "model", "deformable_detr")
    model: Any = load(Task.DETECTION, str(folder), ("zebra",)).assemble(PLAIN, share=True)
    assert model.class_embed[0].bias.sigmoid().tolist() == pytest.approx([0.01])
    assert model.class_embed[0].weight is model.class_embed[1].weight


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_head_is_new_under_every_name_and_computes_like_a_saved_one(
    tmp_path: Path, split: Callable[[str], PreparedSplit], kind: str
) -> None:
    classes = ("zebra", "emu", "gnu", "okapi")
    task: Any = load(Task.DETECTION, str(save_detector(tmp_path / "a", kind)), classes)
    model: Any = task.assemble(PLAIN, share=True)
    assert not {len(t) for n, t in model.named_parameters() if "class_embed" in n} & {len(LABELS)}
    model.save_pretrained(tmp_path / "b", state_dict={n: t.clone() for n, t in model.state_dict().items()})
    again = AutoModelForObjectDetection.from_pretrained(tmp_path / "b").eval()
    batch = eval_batches(split(kind), batch_size=4)[0]
    with torch.no_grad():
        out = again(pixels(batch, task.scale), pixel_mask=_mask(batch))
        ours = task.outputs(model, batch)
    torch.testing.assert_close(torch.cat([out.logits, out.pred_boxes], -1), ours, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_boxes_are_in_float32_under_bf16_autocast(
    tmp_path: Path, split: Callable[[str], PreparedSplit], kind: str
) -> None:
    task: Any = load(Task.DETECTION, str(save_detector(tmp_path / "model", kind)), CLASSES)
    model = task.assemble(PLAIN, share=True)
    batch = eval_batches(split(kind), batch_size=4)[0]
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        out = task._forward(model, batch)
        assert task.loss(model, batch, PLAIN).dtype is torch.float32
    assert out.pred_boxes.dtype is torch.float32
    assert out.logits.dtype is torch.float32


def test_other_kinds_are_refused_by_name(tmp_path: Path) -> None:
    SegformerConfig().save_pretrained(tmp_path / "other")
    DetrImageProcessorPil(size={"shortest_edge": 32, "longest_edge": 48}).save_pretrained(tmp_path / "other")
    with pytest.raises(
        ModelError, match=r"segformer checkpoint; detection supports yolos, detr, table-transformer"
    ):
        resize_of(ModelSpec(name=str(tmp_path / "other")), Task.DETECTION)


def test_a_yolos_that_cannot_compute_its_loss_is_refused() -> None:
    spec = ModelSpec(name="some/yolos")
    with pytest.raises(ModelError, match=r"auxiliary_loss to false in its config\.json"):
        detector_family(YolosConfig(auxiliary_loss=True), spec)
    assert detector_family(YolosConfig(), spec).no_object


def test_labels_that_number_no_output_are_refused(tmp_path: Path) -> None:
    folder = save_detector(tmp_path / "model", "detr")
    settings = json.loads((folder / "config.json").read_text())
    settings["id2label"] = {"0": "cat", "1": "N/A", "3": "dog"}
    settings["label2id"] = {"cat": 0, "N/A": 1, "dog": 3}
    (folder / "config.json").write_text(json.dumps(settings))
    with pytest.raises(ModelError, match=r"id2label must number its 3 labels from 0 to 2, got 0, 1, 3"):
        load(Task.DETECTION, str(folder), CLASSES)


ADAPTERS = ("lora", "adalora", "loha", "lokr", "serial_lora", "localized_lora")


@pytest.mark.parametrize("kind", KINDS)
def test_every_adapter_reaches_every_block(
    tmp_path: Path, split: Callable[[str], PreparedSplit], kind: str
) -> None:
    task: Any = load(Task.DETECTION, str(save_detector(tmp_path / "model", kind)), CLASSES)
    batch = eval_batches(split(kind), batch_size=4)[0]
    # Deformable attention has no query and key layers: its offsets are computed from the query directly.
    targets = ["value"] if kind.startswith("deformable_detr") else ["query", "key", "value"]
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
        assert {task.layout.block_of(n) for n in names} == set(range(len(task.layout.blocks))), adapter
