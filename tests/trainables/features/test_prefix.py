"""A model divided at a block gives the outputs of the whole model, to the bit, for each architecture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from saved_models import SIDE, VITS, save_vit, save_yolos
from torch import Tensor, nn

from tests.trainables.features.conftest import engine, trial
from trainables.data.loader import Batch, eval_batches
from trainables.features.prefix import NoPrefixError, Prefix, find_embeddings
from trainables.specs.data import Split
from trainables.specs.workload import Task
from trainables.training.engine import Engine

ADAPTED = {"adapter": "lora", "blocks": [-1, -1]}


def _engine(tmp_path: Path, kind: str) -> Engine:
    if kind == "yolos":
        folder = save_yolos(tmp_path / kind)
        return engine(Task.DETECTION, model={"name": str(folder), "new_head": True}, embedded={"side": SIDE})
    side = (
        48 if kind in ("dinov2", "dinov3_vit", "beit") else SIDE
    )  # another size than in pretraining: positions are interpolated
    return engine(model={"name": str(save_vit(tmp_path / kind, kind, side=side))})


def _parts(engine: Engine) -> tuple[nn.Module, Batch, Callable[[], Tensor], tuple[str, ...]]:
    state = engine.start(trial(**ADAPTED))
    batch = eval_batches(engine.data.splits[Split.TRAIN], batch_size=4)[0]
    return (
        state.model,
        batch,
        lambda: engine.task.outputs(state.model, batch),
        engine.task.layout_in(state.model).blocks,
    )


@pytest.mark.parametrize("kind", [*VITS, "yolos"])
def test_outputs_from_hidden_states_are_those_from_images(tmp_path: Path, kind: str) -> None:
    made = _engine(tmp_path, kind)
    model, batch, forward, blocks = _parts(made)
    assert len(blocks) == 3
    with torch.no_grad():
        plain = forward()
        embeddings = find_embeddings(model, blocks, forward)
        seen = []
        for block in range(len(blocks) + 1):
            prefix = Prefix(embeddings, blocks, block)
            hidden = prefix.compute(model, forward)
            seen.append(hidden)
            bare = replace(batch, images=batch.images.to("meta"), hidden=hidden)
            with prefix.resumed(model):
                assert torch.equal(made.task.outputs(model, bare), plain)
                assert torch.equal(forward(), plain), "real images pass through the whole model"
            with prefix.resumed(model, hidden):
                assert torch.equal(forward(), plain)
            other = prefix.compute(model, lambda: made.task.outputs(model, _other_images(batch)))
            with prefix.resumed(model, other):
                assert not torch.equal(forward(), plain), "the states count, not the images"
        assert len({state.sum().item() for state in seen}) == len(seen)
        assert torch.equal(forward(), plain), "the model is as it was"
    assert not any("forward" in vars(module) for module in model.modules())


def _other_images(batch: Batch) -> Batch:
    return replace(batch, images=255 - batch.images)


def test_states_of_several_models_pass_at_once(tmp_path: Path) -> None:
    """One batch's states, repeated for models that share the frozen blocks."""
    made = _engine(tmp_path, "vit")
    model, batch, forward, blocks = _parts(made)
    prefix = Prefix(find_embeddings(model, blocks, forward), blocks, 2)
    with torch.no_grad():
        hidden, plain = prefix.compute(model, forward), forward()
        wide = replace(
            batch,
            images=torch.empty((8, *batch.images.shape[1:]), device="meta"),
            valid=batch.valid * 2,
            hidden=hidden.repeat(2, 1, 1),
        )
        with prefix.resumed(model):
            assert torch.equal(made.task.outputs(model, wide), torch.cat([plain, plain]))


def test_an_error_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    model, _, forward, blocks = _parts(_engine(tmp_path, "vit"))
    prefix = Prefix("backbone.embeddings", blocks, 1)
    with pytest.raises(ZeroDivisionError), prefix.resumed(model):
        raise ZeroDivisionError
    with pytest.raises(NoPrefixError, match="does not run its blocks"):
        prefix.compute(model, lambda: None)
    with pytest.raises(NoPrefixError, match="does not run its block 0"):
        find_embeddings(model, blocks, lambda: None)
    assert not any("forward" in vars(module) for module in model.modules())
    with torch.no_grad():
        assert forward().isfinite().all()


class _Two(nn.Module):
    """Blocks whose input is the sum of two modules' outputs, or that give two values."""

    def __init__(self, *, pair: bool = False) -> None:
        super().__init__()
        self.one, self.other = nn.Linear(4, 4), nn.Linear(4, 4)
        self.blocks = nn.ModuleList([_Pair(pair), _Pair(pair)])
        self.pair = pair

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.one(x) if self.pair else self.one(x) + self.other(x)
        for block in self.blocks:
            found = block(hidden)
            hidden = found[0] if isinstance(found, tuple) else found
        return hidden


class _Pair(nn.Module):
    def __init__(self, pair: bool) -> None:
        super().__init__()
        self.pair = pair

    def forward(self, hidden: Tensor) -> Tensor | tuple[Tensor, None]:
        return (hidden, None) if self.pair else hidden


def test_models_of_another_form_are_recognised() -> None:
    x = torch.zeros(2, 3, 4)
    for model, reason in (
        (_Two(), "not the output of one module"),
        (_Two(pair=True), "gives something else"),
    ):
        with pytest.raises(NoPrefixError, match=reason):
            find_embeddings(model, ("blocks.0", "blocks.1"), lambda model=model: model(x))
        assert model(x).shape == x.shape
