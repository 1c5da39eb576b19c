"""Traces a model in evaluation mode into ONNX, with named inputs and outputs and a batch of any size.

`torch.export` follows the model's Python, and what transformers writes for training stands in its way:

| in transformers 5.24                                   | while tracing                            |
|--------------------------------------------------------|------------------------------------------|
| `len(tensor)` fixes the size of the batch (RT-DETR)    | `len` of a tensor is its first size      |
| checks of shapes become assertions that ONNX lacks     | transformers' own switch turns them off  |
| EoMT's blocks with masked attention are in a buffer    | they are plain numbers                   |
"""

from __future__ import annotations

import builtins
import logging
import math
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

INPUT = "pixel_values"
BATCH = 2
"""The size of the traced batch: with one image, torch takes the batch for one that is always 1."""
SMALLEST = 96
"""The shortest side of traced images of free size: torch takes a map of one cell for one that is always 1."""
_PROBABILITIES = "attn_mask_probs"
_UNCHECKED = "TRANSFORMERS_DISABLE_TORCH_CHECK"
_AXES = ("batch", "channels", "height", "width")


class NamedOutputs(nn.Module):
    """A model whose outputs are those of `named_outputs`, in that order."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) scaled images -> outputs, each with a row for each image."""
        return tuple(named_outputs(self.model(pixel_values)).values())


def named_outputs(found: Any) -> dict[str, Tensor]:
    """What a model of any task gives, by the names that the ONNX file has."""
    if isinstance(found, Tensor):
        return {"scores": found}
    if hasattr(found, "masks_queries_logits"):
        names = ["class_queries_logits", "masks_queries_logits"]
    else:
        names = ["logits", "pred_boxes", *(["pred_masks"] if hasattr(found, "pred_masks") else [])]
    return {name: getattr(found, name) for name in names}


def trace(model: nn.Module, size: tuple[int, int], *, free_sizes: bool) -> Any:
    """The ONNX program of `model`, which is changed by it, and must be in evaluation mode.

    size: (height, width) of the images.  free_sizes: other sizes may be given as well, and a multiple of
    `size` may be traced.
    Raises whatever torch raises for a model that it cannot trace.
    """
    model.requires_grad_(False)
    times = math.ceil(SMALLEST / min(size)) if free_sizes else 1
    images = torch.zeros(BATCH, 3, *(times * side for side in size))
    free = torch.export.Dim.DYNAMIC
    axes = {0: free, 2: free, 3: free} if free_sizes else {0: free}
    with torch.no_grad(), _traceable(model), _quiet():
        names = list(named_outputs(model(images)))
        traced = torch.export.export(NamedOutputs(model), (images,), dynamic_shapes=(axes,), strict=False)
        # Not optimized: onnxruntime does that when it loads a file, and onnxscript 0.7 takes longer than the
        # tracing and drops a node of Deformable DETR with refined boxes.
        program: Any = torch.onnx.export(
            traced, dynamo=True, input_names=[INPUT], output_names=names, optimize=False, verbose=False
        )
    _name_axes(program, names)
    return program


def _name_axes(program: Any, outputs: list[str]) -> None:
    """Give the free axes their names, in place of torch's `s99`."""
    shape = program.model.graph.inputs[0].shape
    named = {axis: name for axis, name in zip(shape, _AXES, strict=True) if not isinstance(axis, int)}
    program.rename_axes(named)
    assert [value.name for value in program.model.graph.outputs] == outputs


@contextmanager
def _traceable(model: nn.Module) -> Iterator[None]:
    """Inside the block, `torch.export` can follow the code of transformers; see above."""
    for module in model.modules():
        held = module._buffers.pop(_PROBABILITIES, None)
        if held is not None:
            setattr(module, _PROBABILITIES, held.tolist())
    names = {type(module).__module__ for module in model.modules()}
    code = [sys.modules[name] for name in sorted(names) if name.startswith("transformers.models.")]
    before = os.environ.get(_UNCHECKED)
    os.environ[_UNCHECKED] = "1"
    for part in code:
        vars(part)["len"] = _length
    try:
        yield
    finally:
        for part in code:
            del vars(part)["len"]
        if before is None:
            del os.environ[_UNCHECKED]
        else:
            os.environ[_UNCHECKED] = before


def _length(value: Any) -> Any:
    """What `len` gives, but of a tensor its first size, which may be free."""
    return value.shape[0] if isinstance(value, Tensor) else builtins.len(value)


def random_part(model: nn.Module) -> str | None:
    """What of a model in evaluation mode gives other outputs each time; None where nothing does."""
    for module in model.modules():
        held = module._buffers.get(_PROBABILITIES)
        if held is not None and bool(((held > 0) & (held < 1)).any()):
            return (
                f"its {_PROBABILITIES} are {held.tolist()}, and with one between 0 and 1 it draws masks of"
                " attention at random in evaluation too; set them to 0 or 1 in the checkpoint"
            )
    return None


@contextmanager
def _quiet() -> Iterator[None]:
    """Turn off warnings about code that is not ours, and about operators of torchvision."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def versions() -> Mapping[str, str]:
    """The versions that decide whether a model can be exported."""
    import onnxruntime
    import onnxscript
    import transformers

    modules = {"torch": torch, "transformers": transformers}
    return {
        **{name: str(module.__version__) for name, module in modules.items()},
        "onnxscript": onnxscript.__version__,
        "onnxruntime": onnxruntime.__version__,
    }
