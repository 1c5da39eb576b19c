"""A model in ONNX is the trained one, is described by its card, and is all there or not at all."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exporting import SETTINGS, UNKNOWN, trained
from onnx_models import trained_model_of

from tests.support.onnx_cards import check_card
from trainables.errors import AdapterError, ModelError, StorageError
from trainables.export.card_facts import Card
from trainables.export.onnx import write
from trainables.export.onnx.compare import open_session
from trainables.export.onnx.write import FILE, OnnxResult, export_onnx
from trainables.inference.trained_model import TrainedModel
from trainables.specs.workload import Task

TASKS = (Task.DETECTION, Task.SEGMENTATION)


@pytest.fixture(scope="module")
def models() -> dict[Task, TrainedModel]:
    """The embedded backbones with a trained adapter; serial LoRA is in no library's format."""
    return {task: trained(task, SETTINGS["serial_lora"], UNKNOWN) for task in TASKS}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    """A segmenter that is traced in little time."""
    return trained_model_of("vit", tmp_path_factory.mktemp("tiny") / "base", {"adapter": "lora"})


@pytest.fixture(scope="module")
def exported(
    models: dict[Task, TrainedModel], tmp_path_factory: pytest.TempPathFactory
) -> dict[Task, OnnxResult]:
    root = tmp_path_factory.mktemp("onnx")
    card = Card("digits, trial 3", metrics={"score_threshold": 0.125, "loss": 1.5})
    return {task: _export(model, root / task, card=card) for task, model in models.items()}


def _export(
    model: TrainedModel,
    to: Path,
    *,
    merge: bool = False,
    external_data: bool = False,
    card: Card | None = None,
) -> OnnxResult:
    return export_onnx(model, to, merge=merge, external_data=external_data, card=card or Card("x"))


@pytest.mark.parametrize("task", TASKS)
def test_onnxruntime_computes_what_was_trained_for_a_batch_of_any_size(
    models: dict[Task, TrainedModel], exported: dict[Task, OnnxResult], task: Task
) -> None:
    result, model = exported[task], models[task]
    session = open_session(result.folder / FILE)
    names = [value.name for value in session.get_outputs()]
    assert names == (["logits", "pred_boxes"] if task is Task.DETECTION else ["scores"])
    (entry,) = session.get_inputs()
    assert (entry.name, entry.type, entry.shape) == ("pixel_values", "tensor(float)", ["batch", 3, 64, 64])
    assert all(value.shape[0] == "batch" for value in session.get_outputs())
    images = torch.randn(5, 3, 64, 64, generator=torch.Generator().manual_seed(9))
    found = session.run(names, {"pixel_values": images.numpy()})
    with torch.inference_mode():
        out: Any = model.model(images)
    for name, array in zip(names, found, strict=True):
        ours = out if name == "scores" else getattr(out, name)
        torch.testing.assert_close(torch.from_numpy(array), ours, rtol=1e-5, atol=1e-5)
        assert 0 < result.differences[name] < 1e-4
    assert result.merged is True
    assert result.free_sizes is False


@pytest.mark.parametrize("task", TASKS)
def test_the_card_has_a_program_that_needs_onnxruntime_and_numpy_alone(
    models: dict[Task, TrainedModel], exported: dict[Task, OnnxResult], task: Task, tmp_path: Path
) -> None:
    text = check_card(models[task], exported[task], tmp_path, threshold=0.125)
    assert "library_name: onnx" in text
    assert "trained on the embedded " in text
    assert "with its serial_lora adapter merged into the weights" in text
    assert "`pixel_values`: float32, (batch, 3, 64, 64), RGB; a batch of any size." in text
    assert "with mean (0.5, 0.5, 0.5) and std (0.5, 0.5, 0.5)" in text
    for name, value in exported[task].differences.items():
        assert f"`{name}` {value:.1e}" in text
        assert f"- `{name}`: (batch, " in text
    for said in (f"torch {torch.__version__}", "onnxruntime ", "0: cat, 1: dog, 2: emu", "## Metrics"):
        assert said in text


def test_the_folder_holds_the_file_and_what_its_input_needs(exported: dict[Task, OnnxResult]) -> None:
    files = ("README.md", "model.onnx", "preprocessor_config.json", "threshold.json")
    for result in exported.values():
        assert result.files == files
        assert sorted(path.name for path in result.folder.iterdir()) == sorted(files)
        assert sorted(path.name for path in result.folder.parent.iterdir()) == sorted(TASKS)


def test_weights_may_be_in_a_file_of_their_own(tiny: TrainedModel, tmp_path: Path) -> None:
    result = _export(tiny, tmp_path / "out", external_data=True)
    assert result.files == ("README.md", "model.onnx", "model.onnx.data", "preprocessor_config.json")
    task: Any = tiny.task
    blocks = sum(p.numel() for p in task.backbone.parameters() if p.ndim > 1)
    assert (result.folder / "model.onnx.data").stat().st_size >= 4 * blocks
    result.folder.rename(tmp_path / "elsewhere")
    session = open_session(tmp_path / "elsewhere" / FILE)
    (found,) = session.run(None, {"pixel_values": np.zeros((2, 3, 32, 32), np.float32)})
    assert found.shape == (2, 2, 32, 32)


class _Program:
    """Stands for what torch makes, when only the folder matters."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def save(self, *_: object, **__: object) -> None:
        raise self.error


def test_a_full_disk_leaves_nothing(
    models: dict[Task, TrainedModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = _Program(OSError(errno.ENOSPC, "No space left on device"))
    monkeypatch.setattr(write, "trace", lambda *_, **__: full)
    with pytest.raises(StorageError, match="the disk is full; free some space; nothing was left"):
        _export(models[Task.SEGMENTATION], tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_model_that_torch_cannot_trace_is_refused_by_name(
    models: dict[Task, TrainedModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("step 1 failed\nmore") from ValueError("no such operator\nas this")

    monkeypatch.setattr(write, "trace", broken)
    with pytest.raises(ModelError) as error:
        _export(models[Task.DETECTION], tmp_path / "out")
    said = str(error.value)
    assert said.startswith("the yolos model with adapter serial_lora cannot be exported to ONNX with torch ")
    assert ": ValueError: no such operator; nothing was written; export without --onnx" in said
    assert "transformers 5." in said
    assert not list(tmp_path.iterdir())


def test_a_file_that_computes_something_else_is_never_left(
    tiny: TrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    traced = write.trace

    def other(model: Any, *arguments: Any, **options: Any) -> Any:
        with torch.no_grad():
            model.head.classify.bias[0] += 0.01
        return traced(model, *arguments, **options)

    monkeypatch.setattr(write, "trace", other)
    with pytest.raises(AdapterError, match=r"'scores' differs from torch's by up to 0\.01, more than"):
        _export(tiny, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_holds_something_is_refused(models: dict[Task, TrainedModel], tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    with pytest.raises(StorageError, match="is not empty"):
        _export(models[Task.SEGMENTATION], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_missing_package_is_named_before_any_work(
    models: dict[Task, TrainedModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write, "find_spec", lambda name: None if name == "onnxscript" else object())
    with pytest.raises(ModelError, match=r"needs onnxscript, .* pip install 'adaptertune\[onnx\]'"):
        _export(models[Task.SEGMENTATION], tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_what_peft_cannot_merge_is_refused_where_that_was_asked_for(tmp_path: Path) -> None:
    model = trained(Task.SEGMENTATION, {"adapter": "peft", "peft": {"method": "LILY"}})
    with pytest.raises(AdapterError, match="cannot merge LILY"):
        _export(model, tmp_path / "out", merge=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_what_peft_cannot_merge_is_exported_beside_the_weights(task: Task, tmp_path: Path) -> None:
    model = trained(task, {"adapter": "peft", "peft": {"method": "LILY"}})
    result = _export(model, tmp_path / "out")
    assert result.merged is False
    assert "adapter beside the weights, as PEFT cannot merge it" in (tmp_path / "out/README.md").read_text()


def test_attention_masked_at_random_is_refused(tmp_path: Path) -> None:
    model = trained_model_of("eomt", tmp_path / "base", {"adapter": "lora"})
    whole: Any = model.model
    inner = next(module for module in whole.modules() if hasattr(module, "attn_mask_probs"))
    inner.attn_mask_probs.fill_(0.5)
    with pytest.raises(ModelError, match=r"the eomt model .* ONNX: its attn_mask_probs are \[0\.5, 0\.5\]"):
        _export(model, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["base"]
