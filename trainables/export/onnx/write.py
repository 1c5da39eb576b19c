"""Exports a trained model as an ONNX file with a card, and checks that onnxruntime computes the same.

The adapter is merged into the weights; where PEFT cannot merge its method, the model is traced with the
adapter beside them, which is as exact. What is traced is the model that `export` writes for transformers.
"""

from __future__ import annotations

import copy
import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trainables.errors import AdapterError, AdaptertuneError, ModelError
from trainables.export import use
from trainables.export.card_facts import Card
from trainables.export.folder import check_empty, export_folder
from trainables.export.onnx.card import OnnxFacts, onnx_card
from trainables.export.onnx.compare import Outputs, largest_differences, open_session
from trainables.export.onnx.trace import named_outputs, random_part, trace, versions
from trainables.export.write import ExportKind, export_model, write_threshold
from trainables.inference.trained_model import TrainedModel
from trainables.tasks.segmenters.own_heads import OwnHeadTask

FILE = "model.onnx"
PACKAGES = ("onnx", "onnxscript", "onnxruntime")
ONE_SIZE = frozenset({"deformable_detr"})
"""Models for images of any shape that take one size once traced: it is in their constants."""
_PLAIN = ".plain"
"""The folder of the model for transformers, while the file is made."""


@dataclass(frozen=True)
class OnnxResult:
    """The exported files.

    merged: whether the adapter is in the weights; None without one.  size: (height, width) of the compared
    images.  free_sizes: whether the file takes others as well.  differences: the largest of each output.
    files: relative to the folder.  bytes: of all files.
    """

    folder: Path
    merged: bool | None
    size: tuple[int, int]
    free_sizes: bool
    differences: dict[str, float]
    files: tuple[str, ...]
    bytes: int


def require_onnx() -> None:
    """Raise ModelError if a package is missing."""
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise ModelError(
            f"--onnx needs {', '.join(missing)}, which is missing; pip install 'adaptertune[onnx]', or export"
            " without --onnx"
        )


def export_onnx(
    trained: TrainedModel, to: Path, *, merge: bool, external_data: bool, card: Card
) -> OnnxResult:
    """Write `trained` into `to`, which must be absent or empty; nothing is left behind on failure.

    merge: fail where PEFT cannot merge the adapter.  external_data: weights in a file of their own, as
    always above 2 GB.

    Raises StorageError, ModelError for a model that ONNX has no form for and for a package that is missing,
    AdapterError if onnxruntime's outputs differ from the trained model's.
    """
    require_onnx()
    check_empty(to)
    if (why := random_part(trained.model)) is not None:
        raise ModelError(f"{_subject(trained)} cannot be exported to ONNX: {why}; or export without --onnx")
    height, width = trained.task.resize.target(480, 640)
    free = not trained.task.resize.is_fixed and _model_type(trained) not in ONE_SIZE
    sizes = [(height, width), *([_turned(trained)] if free else [])]
    with export_folder(to) as folder:
        plain = folder / _PLAIN
        merged = _write_plain(trained, plain, merge=merge)
        program = _traced(trained, plain, (height, width), free_sizes=free)
        program.save(folder / FILE, external_data=external_data)
        differences = _compared(trained, folder / FILE, sizes)
        shutil.copyfile(plain / "preprocessor_config.json", folder / "preprocessor_config.json")
        shutil.rmtree(plain)
        facts = OnnxFacts(
            file=FILE,
            opset=program.model.opset_imports[""],
            size=(height, width),
            free_sizes=free,
            merged=merged,
            differences=differences,
            versions=versions(),
        )
        (folder / "README.md").write_text(onnx_card(trained, card, facts), encoding="utf-8")
        write_threshold(card, folder)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        names = tuple(path.relative_to(folder).as_posix() for path in files)
        size = sum(path.stat().st_size for path in files)
    return OnnxResult(to, merged, (height, width), free, differences, names, size)


def _write_plain(trained: TrainedModel, to: Path, *, merge: bool) -> bool | None:
    """Write the model for transformers; whether the adapter is merged, None without one."""
    if trained.adapted.config is None:
        export_model(trained, to, merge=False, card=Card(to.name))
        return None
    try:
        return export_model(trained, to, merge=True, card=Card(to.name)).kind is ExportKind.MODEL
    except AdapterError as error:
        if merge or "cannot merge" not in str(error):
            raise
    export_model(trained, to, merge=False, card=Card(to.name))
    return False


def _traced(trained: TrainedModel, plain: Path, size: tuple[int, int], *, free_sizes: bool) -> Any:
    """The ONNX program. Raises ModelError with the model's type, the adapter, versions and the reason."""
    trust = trained.workload.model.trust_remote_code
    model = use.load(plain, local_files_only=True, trust_remote_code=trust)
    try:
        return trace(model, size, free_sizes=free_sizes)
    except MemoryError:
        raise
    except Exception as error:  # of torch's tracing and conversion, which raise errors of many types
        raise ModelError(
            f"{_subject(trained)} cannot be exported to ONNX with {_versions()}: {_reason(error)};"
            " nothing was written; export without --onnx"
        ) from error


def _compared(trained: TrainedModel, file: Path, sizes: list[tuple[int, int]]) -> dict[str, float]:
    """The largest difference of each output. Raises AdapterError, with what was exported and by what."""
    model = trained.model if trained.device.type == "cpu" else copy.deepcopy(trained.model).cpu()
    model.eval()

    def outputs(images: Tensor) -> Outputs:
        with torch.inference_mode():
            return {name: tensor.clone() for name, tensor in _outputs(trained, model, images).items()}

    try:
        return largest_differences(open_session(file), outputs, sizes)
    except AdaptertuneError as error:
        raise type(error)(f"{_subject(trained)} in ONNX, with {_versions()}: {error}") from error
    except Exception as error:  # onnxruntime's own types derive from Exception alone
        raise ModelError(
            f"{_subject(trained)} was exported to ONNX with {_versions()}, but onnxruntime cannot run it:"
            f" {_reason(error)}; nothing was written; export without --onnx, and please report it"
        ) from error


def _outputs(trained: TrainedModel, model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    if isinstance(trained.task, OwnHeadTask):
        return {"scores": trained.task.class_scores(model, images)}
    return named_outputs(model(images))


def _turned(trained: TrainedModel) -> tuple[int, int]:
    """Another size that images may have: of a portrait in place of a landscape."""
    return trained.task.resize.target(800, 480)


def _model_type(trained: TrainedModel) -> str:
    task: Any = trained.task
    model = task.model if hasattr(task, "model") else task.backbone
    return str(model.config.model_type)


def _subject(trained: TrainedModel) -> str:
    config = trained.config
    peft = f" ({config.peft.method})" if config.adapter == "peft" and config.peft is not None else ""
    return f"the {_model_type(trained)} model with adapter {config.adapter}{peft}"


def _versions() -> str:
    return ", ".join(f"{name} {version}" for name, version in versions().items())


def _reason(error: BaseException) -> str:
    """The first line of the error that started it."""
    if isinstance(error, AdaptertuneError):
        return str(error)
    while error.__cause__ is not None and not str(error.__cause__).isspace():
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
