from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from transformers import ViTConfig, ViTModel, YolosConfig, YolosForObjectDetection

from tests.trainables.conftest import workload
from trainables.adapters.inject import inject_adapter
from trainables.adapters.layout import layout_of
from trainables.backbones import EMBEDDED
from trainables.errors import ModelError
from trainables.models.freezing import (
    Base,
    Parts,
    apply_freezing,
    backbone_trains,
    count_parameters,
    parts_of,
)
from trainables.specs.trial import TrialConfig
from trainables.specs.workload import Task
from trainables.tasks.registry import load_task
from trainables.training.engine import Engine

SIZES = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}


class Segmenter(nn.Module):
    """A backbone with a head, and running statistics in both."""

    def __init__(self) -> None:
        super().__init__()
        config = ViTConfig(**SIZES, image_size=16, patch_size=8)
        self.backbone = ViTModel(config, add_pooling_layer=False)
        self.backbone.stem = nn.BatchNorm1d(4)
        self.head = nn.Sequential(nn.Linear(16, 4), nn.BatchNorm1d(4))


def config_of(**fields: Any) -> TrialConfig:
    return TrialConfig.model_validate_json(json.dumps(fields))


def sorted_parts(
    model: nn.Module, config: TrialConfig, head: tuple[str, ...], *, training: tuple[str, ...] | None = ()
) -> Parts:
    names = {n for n, _ in model.named_parameters() if n.startswith(head)}
    base = Base.of(model, head=names, constant=("backbone.stem.bias",), training=training)
    layout = layout_of(model)
    inject_adapter(model, config, layout, total_steps=10)
    return parts_of(model, base, layout)


def segmenter(config: TrialConfig, *, training: tuple[str, ...] | None = ()) -> tuple[Any, Parts]:
    model = Segmenter()
    return model, sorted_parts(model, config, ("head",), training=training)


def trains(parts: Parts, config: TrialConfig, epoch: float = 0.0) -> tuple[bool, bool, bool]:
    """Whether all of adapter, all of head, any of the backbone train."""
    apply_freezing(parts, config, epoch)
    return (
        bool(parts.adapter) and all(p.requires_grad for p in parts.adapter.values()),
        all(p.requires_grad for p in parts.head.values()),
        any(p.requires_grad for p in parts.backbone.values()),
    )


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"adapter": "none"}, (False, True, False)),
        ({"adapter": "none", "freezing": "full"}, (False, True, True)),
        ({"adapter": "lora"}, (True, True, False)),
        ({"adapter": "lora", "freezing": "unfrozen"}, (True, True, True)),
        ({"adapter": "lora", "freeze_head": True}, (True, False, False)),
        ({"adapter": "lora", "freeze_head": True, "freezing": "unfrozen"}, (True, False, True)),
        ({"adapter": "adalora"}, (True, True, False)),
        ({"adapter": "adalora", "freezing": "unfrozen"}, (True, True, True)),
        ({"adapter": "serial_lora", "freezing": "unfreeze_at", "unfreeze_epoch": 2}, (True, True, False)),
    ],
)
def test_what_trains_in_each_mode(fields: dict[str, Any], expected: tuple[bool, bool, bool]) -> None:
    config = config_of(**fields)
    _, parts = segmenter(config)
    assert trains(parts, config) == expected


def test_every_parameter_is_in_one_part() -> None:
    model, parts = segmenter(config_of(adapter="adalora"))
    groups = [parts.adapter, parts.head, parts.backbone, parts.fixed]
    names = [n for group in groups for n in group]
    assert sorted(names) == sorted(n for n, _ in model.named_parameters())
    assert all(".ranknum." in n for n in parts.fixed)
    assert len(parts.fixed) == 6


def test_what_never_trains_stays_fixed() -> None:
    config = config_of(adapter="adalora", freezing="unfrozen")
    _, parts = segmenter(config)
    apply_freezing(parts, config, 0.0)
    assert not any(p.requires_grad for p in parts.fixed.values())


def test_unfreezing_at_an_epoch() -> None:
    config = config_of(adapter="lora", freezing="unfreeze_at", unfreeze_epoch=2)
    _, parts = segmenter(config)
    seen = [trains(parts, config, epoch)[2] for epoch in (0.0, 1.9, 2.0, 3.0)]
    assert seen == [False, False, True, True]
    assert not backbone_trains(config, 1)
    assert set(parts.movable(config)) == set(parts.backbone) - {"backbone.stem.bias"}


@pytest.mark.parametrize("adapter", ["none", "lora"])
def test_frozen_blocks_take_embeddings_and_the_first_blocks(adapter: str) -> None:
    mode = "full" if adapter == "none" else "unfrozen"
    config = config_of(adapter=adapter, freezing=mode, frozen_blocks=2)
    _, parts = segmenter(config)
    apply_freezing(parts, config, 0.0)
    moving = {n for n, p in parts.backbone.items() if p.requires_grad}
    assert moving == {
        n
        for n in parts.backbone
        if n.startswith(("backbone.layers.2.", "backbone.layernorm", "backbone.stem.w"))
    }
    everything = config_of(adapter=adapter, freezing=mode)
    assert set(parts.movable(everything)) == set(parts.backbone) - {"backbone.stem.bias"}
    all_blocks = config_of(adapter=adapter, freezing=mode, frozen_blocks=3)
    assert all(not n.startswith("backbone.layers") for n in parts.movable(all_blocks))


def test_yolos_position_embeddings_behind_the_blocks_are_embeddings() -> None:
    model = YolosForObjectDetection(
        YolosConfig(**SIZES, image_size=[16, 16], patch_size=8, num_detection_tokens=2)
    )
    config = config_of(adapter="lora", freezing="unfrozen", frozen_blocks=1)
    parts = sorted_parts(model, config, ("class_labels_classifier", "bbox_predictor"))
    left = set(parts.backbone) - set(parts.movable(config))
    assert "vit.encoder.interpolation.mid_position_embeddings" in left
    assert "vit.embeddings.detection_tokens" in left
    assert all(n.startswith(("vit.encoder.layer.0.", "vit.embeddings.", "vit.encoder.interp")) for n in left)


def modes(model: nn.Module, parts: Parts, config: TrialConfig, epoch: float) -> dict[str, bool]:
    """Whether each module is in training mode in an epoch, as the engine sets it."""
    model.train()
    for module in parts.frozen_modules(config, epoch):
        module.training = False
    return {name: module.training for name, module in model.named_modules()}


def test_by_the_first_definition_only_running_statistics_of_a_frozen_backbone_stand_still() -> None:
    for fields, still in (
        ({"adapter": "lora"}, True),
        ({"adapter": "none", "freezing": "full"}, False),
        ({"adapter": "lora", "freezing": "unfreeze_at", "unfreeze_epoch": 1}, True),
    ):
        config = config_of(**fields)
        model, parts = segmenter(config, training=None)
        assert parts.frozen_modules(config, 0) == ([model.backbone.stem] if still else [])
        assert parts.frozen_modules(config, 1) == (
            [model.backbone.stem] if config.unfreeze_epoch is None and still else []
        )


def test_a_frozen_backbone_is_in_evaluation_mode_as_a_whole() -> None:
    """But not the adapter's own modules, such as its dropout, nor the head."""
    config = config_of(adapter="lora", lora={"dropout": 0.5})
    model, parts = segmenter(config)
    found = modes(model, parts, config, 0)
    training = {name for name, mode in found.items() if mode}
    assert {n for n in training if n.startswith("backbone") and "lora_" not in n} == {
        name for name, module in model.named_modules() if hasattr(module, "base_layer")
    }
    assert any("lora_dropout" in name for name in training)
    assert {"head", "head.0", "head.1"} <= training
    assert all(
        modes(
            *segmenter(config_of(adapter="none", freezing="full")),
            config_of(adapter="none", freezing="full"),
            0,
        ).values()
    )


def test_modules_that_a_loss_needs_in_training_mode_stay_in_it() -> None:
    config = config_of(adapter="none")
    model, parts = segmenter(config, training=("", "backbone.layers.1"))
    found = modes(model, parts, config, 0)
    assert found[""]
    assert found["backbone.layers.1"]
    assert not found["backbone.layers.0"]
    assert not any(mode for name, mode in found.items() if name.startswith("backbone.layers.1."))


def test_frozen_blocks_are_in_evaluation_mode() -> None:
    config = config_of(adapter="none", freezing="full", frozen_blocks=2)
    model, parts = segmenter(config)
    found = modes(model, parts, config, 0)
    assert not found["backbone.layers.1"]
    assert not found["backbone.embeddings"]
    assert found["backbone.layers.2"]
    assert found["head.1"]


def test_a_frozen_head_stands_still() -> None:
    config = config_of(adapter="lora", freezing="unfrozen", freeze_head=True)
    model, parts = segmenter(config)
    assert parts.frozen_modules(config, 0) == [model.head, model.head[0], model.head[1]]
    before = segmenter(config, training=None)
    assert before[1].frozen_modules(config, 0) == [before[0].head[1]]
    assert count_parameters(parts, config)["head"] == 0
    free = config_of(adapter="lora", freezing="unfrozen")
    assert parts.frozen_modules(free, 0) == []
    assert count_parameters(parts, free)["head"] > 0


@pytest.mark.parametrize("task", list(EMBEDDED))
def test_a_frozen_head_ends_as_the_checkpoint_has_it(engine_of: Callable[[Task], Engine], task: Task) -> None:
    engine = engine_of(task)
    fields = {"adapter": "lora", "freezing": "unfrozen", "freeze_head": True, "epochs": 1, "batch_size": 8}
    state = engine.start(config_of(**fields, weight_decay=0.1))
    before = {n: t.clone() for n, t in state.model.state_dict().items()}
    for _ in engine.advance([state]):
        pass
    head = engine.task.head_names(state.model)
    moved = {n for n, t in state.model.state_dict().items() if not torch.equal(t, before[n])}
    assert head
    assert not head & moved
    assert state.parts.adapter.keys() <= moved
    # The checkpoint's parameters, not those of a new head.
    again = engine.start(config_of(**fields)).model.state_dict()
    assert all(torch.equal(again[n], before[n]) for n in head)


def test_a_fresh_head_cannot_be_frozen() -> None:
    config = config_of(adapter="lora", freeze_head=True)
    detector = load_task(workload(Task.DETECTION), ("okapi", "zebra"), torch.device("cpu"))
    with pytest.raises(ModelError, match=r"freeze_head: the checkpoint has no label 'okapi', 'zebra'"):
        detector.assemble(config, share=True)
    segmenter = load_task(workload(Task.SEGMENTATION), ("sky", "zebra"), torch.device("cpu"))
    with pytest.raises(ModelError, match=r"head is new \(the checkpoint has none for these"):
        segmenter.assemble(config, share=True)


def test_a_head_of_another_shape_cannot_be_frozen(engine_of: Callable[[Task], Engine]) -> None:
    config = config_of(adapter="lora", freeze_head=True, head={"width": 7})
    with pytest.raises(ModelError, match=r"head is new \(the checkpoint has one of another shape"):
        engine_of(Task.SEGMENTATION).task.assemble(config, share=True)


def test_a_frozen_head_needs_an_adapter() -> None:
    for freezing in ("head_only", "full"):
        with pytest.raises(ValueError, match="freeze_head needs an adapter"):
            config_of(adapter="none", freezing=freezing, freeze_head=True)


def test_buffers_of_the_head_are_told_apart() -> None:
    _, parts = segmenter(config_of(adapter="lora"))
    assert "backbone.stem.running_mean" in parts.backbone_buffers
    assert not any(n.startswith("head.") for n in parts.backbone_buffers)


def test_counts() -> None:
    for fields, adapter, backbone in (
        ({"adapter": "lora", "lora": {"rank": 2}}, 6 * 2 * 16 * 2, False),
        ({"adapter": "serial_lora", "serial_lora": {"rank": 2}}, 3 * 2 * 16 * 2, False),
        ({"adapter": "lora", "freezing": "unfreeze_at", "unfreeze_epoch": 5, "lora": {"rank": 2}}, 384, True),
        ({"adapter": "none", "freezing": "full"}, 0, True),
    ):
        config = config_of(**fields)
        model, parts = segmenter(config)
        plain = sum(p.numel() for p in Segmenter().backbone.parameters())
        counts = count_parameters(parts, config)
        assert counts["adapter"] == adapter
        assert counts["head"] == 16 * 4 + 4 + 2 * 4
        assert counts["backbone"] == (plain - 4 if backbone else 0)  # one parameter is a constant
        assert (
            counts["total"] == plain + adapter + counts["head"] == sum(p.numel() for p in model.parameters())
        )


def test_frozen_weights_do_not_move_and_free_ones_do() -> None:
    torch.manual_seed(0)
    config = config_of(adapter="lora", freezing="unfrozen", frozen_blocks=1)
    model, parts = segmenter(config)
    apply_freezing(parts, config, 0.0)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5)
    for _ in range(2):
        tokens = model.backbone(torch.randn(6, 3, 16, 16)).last_hidden_state
        (model.head(tokens[:, 0]) - torch.randn(6, 4)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert moved >= set(parts.adapter)
    assert not any(n in moved for n in set(parts.backbone) - set(parts.movable(config)))
    assert any(n.startswith("backbone.layers.2.") for n in moved & set(parts.backbone))
