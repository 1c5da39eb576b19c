"""The first block that trains: by adapter, by freezing, by epoch."""

from __future__ import annotations

from typing import Any

import pytest

from tests.trainables.features.conftest import engine, trial
from trainables.features.first_block import blocks_before_training, frozen_tensors
from trainables.specs.workload import Task
from trainables.training.engine import Engine

BLOCKS = 4
"""Of the embedded model for segmentation."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADAPTERTUNE_CACHE", str(tmp_path_factory.mktemp("cache")))
        return engine()


@pytest.mark.parametrize(
    ("settings", "first", "later"),
    [
        ({"adapter": "none"}, BLOCKS, BLOCKS),
        ({"adapter": "none", "freezing": "full"}, 0, 0),
        ({"adapter": "none", "freezing": "full", "frozen_blocks": 1}, 1, 1),
        ({"adapter": "none", "freezing": "full", "frozen_blocks": BLOCKS}, BLOCKS, BLOCKS),
        ({"adapter": "lora"}, 0, 0),
        ({"adapter": "lora", "blocks": [-1, -1]}, 3, 3),
        ({"adapter": "lora", "blocks": [1, 2]}, 1, 1),
        ({"adapter": "serial_lora", "blocks": [2, 3]}, 2, 2),
        ({"adapter": "adalora", "blocks": [3, 3]}, 3, 3),
        ({"adapter": "peft", "peft": {"method": "VERA"}, "blocks": [2, 3]}, 2, 2),
        ({"adapter": "peft", "peft": {"method": "LN_TUNING"}, "blocks": [1, 3]}, 1, 1),
        ({"adapter": "lora", "blocks": [2, 3], "freezing": "unfrozen"}, 0, 0),
        ({"adapter": "lora", "blocks": [2, 3], "freezing": "unfrozen", "frozen_blocks": 1}, 1, 1),
        ({"adapter": "lora", "blocks": [0, 3], "freezing": "unfrozen", "frozen_blocks": 1}, 0, 0),
        ({"adapter": "lora", "blocks": [3, 3], "freezing": "unfreeze_at", "unfreeze_epoch": 2}, 3, 0),
    ],
)
def test_by_hand(made: Engine, settings: dict[str, Any], first: int, later: int) -> None:
    state = made.start(trial(**settings))
    layout = made.task.layout_in(state.model)
    found = [
        blocks_before_training(state.model, state.parts, state.config, layout, epoch=epoch)
        for epoch in (0, 2)
    ]
    assert found == [first, later]


@pytest.mark.parametrize("block", range(BLOCKS + 1))
def test_nothing_below_the_first_block_has_a_gradient(made: Engine, block: int) -> None:
    state = made.start(trial(adapter="none", freezing="full", frozen_blocks=block))
    below = frozen_tensors(state.model, state.parts, made.task.layout_in(state.model), block)
    assert bool(below) == (block > 0)
    before = {name: tensor.detach().clone() for name, tensor in below.items()}
    list(made.advance([state], steps=2))
    after = dict(state.model.named_parameters())
    assert all(after[name].equal(tensor) for name, tensor in before.items())
    moved = set(after) - set(below)
    assert {n for n in moved if ".layers." in n} == {
        n for n in after if any(f".layers.{b}." in n for b in range(block, BLOCKS))
    }


def test_embeddings_between_the_blocks_count_as_what_is_below(tmp_path: Any) -> None:
    from saved_models import SIDE, save_yolos

    model = {"name": str(save_yolos(tmp_path / "m")), "new_head": True}
    made = engine(Task.DETECTION, model=model, embedded={"side": SIDE})
    state = made.start(trial(adapter="none"))
    below = frozen_tensors(state.model, state.parts, made.task.layout_in(state.model), 1)
    assert "vit.encoder.interpolation.mid_position_embeddings" in below
    assert "vit.layernorm.weight" not in below
