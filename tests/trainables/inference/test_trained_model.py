"""A trained model is rebuilt from its checkpoint only, whatever its adapter and freezing mode."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.trainables.conftest import config, run
from tests.trainables.training.test_checkpoint import CONFIGS
from trainables.backbones import EMBEDDED
from trainables.data.loader import eval_batches
from trainables.errors import CheckpointError
from trainables.inference.trained_model import load_baseline, load_trained
from trainables.specs.data import Split
from trainables.specs.workload import ModelSpec, Task
from trainables.training.checkpoint import save_weights
from trainables.training.engine import Engine

EngineOf = Callable[[Task], Engine]
SERIAL = '{"adapter": "serial_lora", "freezing": "unfrozen", "epochs": 1, "batch_size": 4}'


@pytest.mark.parametrize("task", list(EMBEDDED))
@pytest.mark.parametrize("text", [*CONFIGS[:4], SERIAL])
def test_outputs_are_those_of_the_trained_model(
    engine_of: EngineOf, tmp_path: Path, task: Task, text: str
) -> None:
    engine = engine_of(task)
    state = engine.start(config(text))
    run(engine, state)
    save_weights(state, tmp_path / "best.ckpt")
    back = load_trained(engine.workload, tmp_path / "best.ckpt")
    batch = eval_batches(engine.data.splits[Split.VALIDATION], batch_size=4)[0]
    state.model.eval()
    with torch.inference_mode():
        expected, got = engine.task.outputs(state.model, batch), back.task.outputs(back.model, batch)
    assert back.config == state.config
    assert back.classes == engine.data.classes
    assert torch.equal(got, expected)
    untouched = load_baseline(engine.workload, back.classes)
    with torch.inference_mode():
        assert not torch.equal(untouched.task.outputs(untouched.model, batch), expected)


def test_a_checkpoint_of_another_architecture_is_refused(engine_of: EngineOf, tmp_path: Path) -> None:
    from transformers import ViTConfig, ViTModel

    engine = engine_of(Task.SEGMENTATION)
    save_weights(engine.start(config(CONFIGS[0])), tmp_path / "best.ckpt")
    folder = tmp_path / "other"
    other = ViTConfig(
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=64,
        image_size=64,
        patch_size=8,
    )
    ViTModel(other, add_pooling_layer=False).save_pretrained(folder)
    embedded = Path(__file__).parents[3] / "trainables/backbones/vit_digits/preprocessor_config.json"
    (folder / "preprocessor_config.json").write_bytes(embedded.read_bytes())
    workload = engine.workload.model_copy(update={"model": ModelSpec(name=str(folder))})
    with pytest.raises(CheckpointError, match="trained from another backbone"):
        load_trained(workload, tmp_path / "best.ckpt")
