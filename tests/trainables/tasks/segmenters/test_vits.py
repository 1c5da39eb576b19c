"""Every ViT family under our head, against the same model of transformers used by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from saved_models import SIDE, VITS, save_siglip, save_vit
from transformers import AutoModel, DINOv3ViTModel, SiglipModel

from tests.trainables.tasks.conftest import CPU, PLAIN, load
from trainables.errors import ModelError
from trainables.specs.adapters import Role
from trainables.specs.workload import Task
from trainables.tasks.segmenters.vits import VIT_FAMILIES, Positions
from trainables.tasks.stand_in import stand_in_for

CLASSES = ("ground", "a", "b")
TOKENS = {
    "vit": 1, "deit": 2, "dinov2": 1, "dinov2_with_registers": 4, "dinov3_vit": 5, "beit": 1,
    "siglip_vision_model": 0,
}  # fmt: skip
"""The tokens before the patches of each of `VITS`."""


def _task(folder: Path, **model: Any) -> Any:
    return load(Task.SEGMENTATION, str(folder), CLASSES, **model)


def test_every_family_is_saved_by_the_tests() -> None:
    assert set(VITS) == set(TOKENS) == set(VIT_FAMILIES) - {"siglip"}


@pytest.mark.parametrize("size", [(SIDE, SIDE), (48, 24)], ids=["pretrained size", "another size"])
@pytest.mark.parametrize("kind", VITS)
def test_the_head_reads_the_patches_that_transformers_gives(
    tmp_path: Path, kind: str, size: tuple[int, int]
) -> None:
    folder = save_vit(tmp_path, kind)
    model = _task(folder, image_size=size).assemble(PLAIN, share=True)
    images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    by_hand = AutoModel.from_pretrained(folder).eval()
    told = VIT_FAMILIES[kind].positions is Positions.INTERPOLATED_IF_TOLD
    options = {"interpolate_pos_encoding": True} if told else {}
    rows, columns = size[0] // 8, size[1] // 8
    with torch.no_grad():
        tokens = by_hand(images, **options).last_hidden_state
        assert tokens.shape[1] == TOKENS[kind] + rows * columns
        expected = model.head(tokens[:, TOKENS[kind] :], grid=(rows, columns), size=size)
        found = model(images)
    assert torch.allclose(found, expected, atol=1e-5)
    moved = model(images.roll(8, dims=-1))
    assert float((moved - found.roll(8, dims=-1)).abs().max()) > 1e-4, "positions count"


@pytest.mark.parametrize("kind", VITS)
def test_roles_are_found_and_no_pooling_layer_is_kept(tmp_path: Path, kind: str) -> None:
    task = _task(save_vit(tmp_path, kind))
    layout = task.layout
    assert len(layout.blocks) == 3
    for role in (Role.QUERY, Role.KEY, Role.VALUE, Role.OUTPUT, Role.MLP_IN, Role.MLP_OUT):
        names = layout.linears[role]
        assert [layout.block_of(name) for name in names] == [0, 1, 2], role
        assert all(name.startswith("backbone.") for name in names)
    names = [name for name, _ in task.backbone.named_parameters()]
    assert not [name for name in names if "pooler" in name or name.startswith("head.")]


def test_a_siglip_of_text_and_images_is_its_vision_tower(tmp_path: Path) -> None:
    task = _task(save_siglip(tmp_path))
    whole = SiglipModel.from_pretrained(tmp_path).eval()
    images = torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = whole.vision_model(images).last_hidden_state
        assert torch.equal(task.backbone(pixel_values=images).last_hidden_state, expected)
    assert not [name for name, _ in task.backbone.named_parameters() if "text" in name]
    assert task.backbone.config.model_type == "siglip_vision_model"


@pytest.mark.parametrize("kind", VITS)
def test_sides_that_patches_do_not_fill_are_refused_with_the_nearest(tmp_path: Path, kind: str) -> None:
    folder = save_vit(tmp_path, kind)
    with pytest.raises(
        ModelError, match=r"multiples of the patch, 8×8 pixels, got \[32, 44\]; use \[32, 48\]"
    ):
        _task(folder, image_size=(32, 44))


def test_pretrained_on_images_that_are_not_square(tmp_path: Path) -> None:
    """A 4×16 grid has as many patches as an 8×8 one, and would be interpolated as if it were that."""
    vit = save_vit(tmp_path / "vit", "vit")
    _change(vit, image_size=[16, 64])
    with pytest.raises(ModelError, match=r"not square, whose positions.*cannot interpolate; use \[16, 64\]"):
        _task(vit)
    assert _task(vit, image_size=(16, 64)).resize.width == 64
    beit = save_vit(tmp_path / "beit", "beit")
    _change(beit, image_size=[16, 64])
    with pytest.raises(ModelError, match=r"was pretrained on images of 16×64 pixels.*use another checkpoint"):
        _task(beit, image_size=(16, 64))
    dinov3 = save_vit(tmp_path / "dinov3", "dinov3_vit")
    _change(dinov3, image_size=[16, 64])
    assert _task(dinov3).resize.width == SIDE, "rotary embeddings fit any grid"


def _change(folder: Path, **values: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))


def test_rotary_embeddings_of_a_shape_are_those_of_an_image(tmp_path: Path) -> None:
    task = _task(save_vit(tmp_path, "dinov3_vit"))
    images = torch.randn(2, 3, 48, SIDE)
    rope = task.backbone.rope_embeddings
    plain = DINOv3ViTModel.from_pretrained(tmp_path).rope_embeddings
    for found, expected in zip(rope(stand_in_for(images, torch.empty(0))), plain(images), strict=True):
        assert torch.equal(found, expected)
        assert found.device == CPU


def test_another_model_is_refused_with_the_families(tmp_path: Path) -> None:
    folder = save_vit(tmp_path, "beit")
    _change(folder, model_type="convnext")
    with pytest.raises(ModelError, match="is a convnext checkpoint; segmentation supports vit, deit"):
        _task(folder)
