"""Heads that read several blocks: their tokens, features, packs, checkpoints and exports."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from saved_models import SIDE, VITS, save_vit
from segmenters import engine, slow_but
from torch import Tensor
from torch.nn import functional
from transformers import AutoModel

from tests.trainables.conftest import report_values, run
from tests.trainables.tasks.conftest import load
from trainables.errors import AdapterError, ModelError
from trainables.export.card_facts import Card
from trainables.export.write import export_model
from trainables.features.first_block import blocks_before_training
from trainables.inference.trained_model import load_trained
from trainables.packing.group import group_of
from trainables.packing.pack import PackEngine
from trainables.specs.heads import HeadSource
from trainables.specs.trial import TrialConfig
from trainables.specs.workload import Task
from trainables.tasks.segmenters.vits import VIT_FAMILIES
from trainables.training.checkpoint import save_weights
from trainables.training.engine import Engine

EngineFor = Callable[[str], Engine]
CLASSES = ("ground", "a", "b")
HEADS: dict[str, dict[str, Any]] = {
    "linear": {"kind": "linear"},
    "linear of two blocks": {"kind": "linear", "blocks": [1, -1], "norm": True},
    "multiscale": {"kind": "multiscale"},
    "multiscale of two blocks": {"kind": "multiscale", "blocks": [0, 2], "width": 6, "dropout": 0.2},
}


def _trial(head: dict[str, Any], **more: Any) -> TrialConfig:
    asked = {"adapter": "none", "epochs": 2, "batch_size": 4, "head": head}
    return TrialConfig.model_validate_json(json.dumps(asked | more))


def _tokens(folder: Path, images: Tensor, block: int, prefix: int) -> Tensor:
    """The normalised patch tokens of a block, by a hook and the checkpoint's own last norm."""
    model = AutoModel.from_pretrained(folder).eval()
    found: list[Tensor] = []
    inner = getattr(model, "encoder", getattr(model, "model", model))
    layers = next(getattr(inner, name) for name in ("layers", "layer") if hasattr(inner, name))
    layers[block].register_forward_hook(lambda _m, _a, output: found.append(output))
    with torch.no_grad():
        model(images)
        norm = getattr(model, VIT_FAMILIES[model.config.model_type].norm)
        bare = isinstance(norm, torch.nn.Identity)
        out: Tensor = functional.layer_norm(found[0], found[0].shape[-1:]) if bare else norm(found[0])
    return out[:, prefix:]


@pytest.mark.parametrize("kind", VITS)
def test_a_head_gets_the_normalised_tokens_of_its_blocks_in_order(tmp_path: Path, kind: str) -> None:
    folder = save_vit(tmp_path, kind)
    task: Any = load(Task.SEGMENTATION, str(folder), CLASSES)
    images = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    for blocks in ([1], [2, 0]):
        model = task.assemble(_trial({"kind": "linear", "blocks": blocks}), share=True)
        tokens = [_tokens(folder, images, block, model.prefix) for block in sorted(blocks)]
        with torch.no_grad():
            expected = model.head(torch.cat(tokens, dim=-1), grid=(4, 4), size=(SIDE, SIDE))
            assert torch.allclose(model(images), expected, atol=1e-5)


@pytest.mark.parametrize("kind", sorted(set(VITS) - {"beit"}))
def test_the_last_block_normalised_is_the_models_output(tmp_path: Path, kind: str) -> None:
    task: Any = load(Task.SEGMENTATION, str(save_vit(tmp_path, kind)), CLASSES)
    model = task.assemble(_trial({"kind": "linear"}), share=True)
    images = torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        output = task.backbone(pixel_values=images).last_hidden_state[:, model.prefix :]
        assert torch.allclose(model.head(output, grid=(4, 4), size=(SIDE, SIDE)), model(images), atol=1e-6)


@pytest.mark.parametrize("name", HEADS)
def test_numbers_do_not_depend_on_kept_features(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("ADAPTERTUNE_CACHE", str(tmp_path / "cache"))
    folder = save_vit(tmp_path / "model")
    found = []
    for gb in (0.0, 1.0, 1.0):
        made = engine(folder, gb=gb)
        state = made.start(_trial(HEADS[name]))
        reports = report_values(run(made, state))
        found.append((reports, {key: p.tolist() for key, p in state.parts.head.items()}))
    assert len(list((tmp_path / "cache" / "features").glob("*.features"))) == 2
    assert found[1:] == [found[0], found[0]]


def test_features_are_kept_up_to_the_first_block_that_is_read(engine_for: EngineFor) -> None:
    made = engine_for("vit")
    for head, blocks in (
        ({}, 3),
        ({"kind": "linear"}, 3),
        ({"kind": "linear", "blocks": [1, 2]}, 2),
        ({"kind": "multiscale"}, 1),
    ):
        config = _trial(head)
        state = made.start(config)
        layout = made.task.layout_in(state.model)
        assert blocks_before_training(state.model, state.parts, config, layout, epoch=0.0) == blocks


@pytest.mark.parametrize("name", HEADS)
def test_trials_in_a_pack_are_those_trained_alone(engine_for: EngineFor, name: str) -> None:
    made = engine_for("vit")
    asked = [
        _trial(HEADS[name], adapter="lora", lora={"rank": rank, "dropout": 0.1}, seed=rank) for rank in (2, 5)
    ]
    alone = [made.start(each) for each in asked]
    for state in alone:
        run(made, state)
    pack, together = PackEngine(made), [made.start(each) for each in asked]
    while any(not state.done for state in together):
        list(pack.advance(together))
    assert set(pack.trusted.values()) == {True}
    for one, other in zip(alone, together, strict=True):
        for key, parameter in (one.parts.adapter | one.parts.head).items():
            torch.testing.assert_close(other.model.get_parameter(key), parameter, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("kind", slow_but(["beit"], ["vit", "siglip"]))
def test_a_checkpoint_and_an_export_have_the_head(
    engine_for: EngineFor, tmp_path: Path, kind: str, name: str
) -> None:
    made = engine_for(kind)
    state = made.start(_trial(HEADS[name], adapter="lora"))
    run(made, state)
    save_weights(state, tmp_path / "best.ckpt")
    trained = load_trained(made.workload, tmp_path / "best.ckpt", device="cpu")
    adapter = export_model(trained, tmp_path / "adapter", merge=False, card=Card("x"))
    merged = export_model(trained, tmp_path / "merged", merge=True, card=Card("x"))
    assert max(adapter.largest_difference, merged.largest_difference) < 1e-5
    again: Any = load(Task.SEGMENTATION, str(tmp_path / "merged"), made.data.classes)
    assert again.head_source(_trial(HEADS[name])) is HeadSource.KEPT
    images = torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = trained.model(images)
        found = again.assemble(_trial(HEADS[name]), share=True)(images)
    assert torch.allclose(found, expected, atol=1e-5)
    for other in HEADS.keys() - {name}:
        assert again.head_source(_trial(HEADS[other])) is HeadSource.NEW
    assert again.head_source(_trial({})) is HeadSource.NEW


def test_a_head_of_the_same_shape_that_reads_other_blocks_is_not_kept(
    engine_for: EngineFor, tmp_path: Path
) -> None:
    made = engine_for("vit")
    state = made.start(_trial({"kind": "multiscale", "blocks": [0, 2]}))
    run(made, state)
    save_weights(state, tmp_path / "best.ckpt")
    trained = load_trained(made.workload, tmp_path / "best.ckpt", device="cpu")
    export_model(trained, tmp_path / "out", merge=False, card=Card("x"))
    again = load(Task.SEGMENTATION, str(tmp_path / "out"), made.data.classes)
    same = {"kind": "multiscale", "blocks": [-3, -1]}
    assert again.head_source(_trial(same)) is HeadSource.KEPT
    assert again.head_source(_trial({"kind": "multiscale", "blocks": [1, 2]})) is HeadSource.NEW
    with pytest.raises(
        ModelError, match=r"freeze_head: the head is new.*another kind, or that reads other blocks"
    ):
        again.assemble(_trial({}, adapter="lora", freeze_head=True), share=True)


def test_blocks_that_the_model_lacks_are_refused(engine_for: EngineFor) -> None:
    made = engine_for("vit")
    for blocks, rule in (
        ([0, 3], r"head.blocks \[0, 3\]: the model has 3 blocks; use numbers from 0 to 2, or from -3 to -1"),
        ([2, -1], r"head.blocks \[2, -1\]: of the model's 3 blocks this names one twice"),
    ):
        with pytest.raises((ModelError, AdapterError), match=rule):
            made.start(_trial({"kind": "multiscale", "blocks": blocks}))


def test_a_group_of_trials_from_before_there_were_kinds_has_its_name() -> None:
    """A recorded sweep knows by it how many trials a worker takes."""
    group = group_of(_trial({"width": 4, "norm": False}))
    assert group is not None
    assert json.loads(group)["head"] == {"dropout": 0.0, "norm": False, "width": 4}
    groups = {group, *(group_of(_trial(head)) for head in HEADS.values())}
    assert len(groups) == 1 + len(HEADS)


def test_an_adapter_after_the_last_block_that_is_read_is_found(engine_for: EngineFor) -> None:
    made = engine_for("vit")
    reads_last = _trial({"kind": "linear", "blocks": [2]}, adapter="lora")
    assert made.start(reads_last).still == ()
    early = made.start(_trial({"kind": "linear", "blocks": [1]}, adapter="lora"))
    assert {name.split(".")[2] for name in early.still} == {"2"}
    with pytest.raises(AdapterError, match="adapter 'lora' would not train"):
        made.start(_trial({"kind": "linear", "blocks": [1]}, adapter="lora", blocks=[2, 2]))
