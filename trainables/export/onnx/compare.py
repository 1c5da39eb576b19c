"""Compares what onnxruntime computes with an ONNX file and what torch computes with the trained model.

Two models are equal if no output differs by more than `TOLERANCE`, absolute for outputs below 1 and otherwise
relative to the largest one: both sum the same float32 products in another order. Queries of a detector are
compared as a set.

Some models turn rounding into more: RT-DETR and its kin, RF-DETR, LW-DETR and two-stage Deformable DETR
choose queries by score, Mask2Former and EoMT mask attention where a logit is below 0. Where outputs differ by
more, torch is its own judge: a difference is allowed up to `SHARE` times the change of torch's own outputs
when pixels change by a millionth, and up to `MOST`; beyond that the images are not counted, and others drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from trainables.errors import AdapterError
from trainables.export.onnx.trace import INPUT

TOLERANCE = 1e-4
"""As of the folder for transformers and PEFT. Measured on all families: see docs/reference/onnx.md."""
BATCHES = (1, 3)
"""The sizes of the compared batches; the model was traced with another one."""
DRAWS = 5
"""How many batches are drawn until one is found on which torch's own outputs are certain."""
CHANGE = 1e-6
"""The relative change of pixels that is held against rounding: eight steps of float32."""
SHARE = 4.0
"""Both changes are of about one size, and neither is known better than that."""
MOST = 1e-2
"""The largest difference that sensitive outputs may have, as `TOLERANCE` is meant."""
_UNORDERED = (("logits", "pred_boxes"), ("class_queries_logits",))
"""Outputs by which queries are told apart."""

Outputs = Mapping[str, Tensor]
"""Outputs by their names, each (B, …)."""


def largest_differences(
    session: Any, trained: Callable[[Tensor], Outputs], sizes: list[tuple[int, int]]
) -> dict[str, float]:
    """The largest absolute difference of each output, over both batches of images of each size.

    session: of onnxruntime.  trained: the model that was trained.  sizes: (height, width).
    Raises AdapterError if the outputs differ.
    """
    largest: dict[str, float] = {}
    for number, (size, batch) in enumerate((size, batch) for size in sizes for batch in BATCHES):
        found = _compared(session, trained, (batch, *size), seed=number)
        largest = {name: max(value, largest.get(name, 0.0)) for name, value in found.items()}
    return largest


def open_session(file: Path) -> Any:
    """onnxruntime's session on the CPU, for a file that may have its weights next to it."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; warnings are about nodes that it cannot compute in advance
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def _compared(
    session: Any, trained: Callable[[Tensor], Outputs], shape: tuple[int, int, int], *, seed: int
) -> dict[str, float]:
    """The differences on the first drawn batch on which torch's own outputs are certain."""
    batch, *size = shape
    draw = torch.Generator().manual_seed(seed)
    for images in (torch.randn(batch, 3, *size, generator=draw) for _ in range(DRAWS)):
        ours = trained(images)
        names = list(ours)
        found = session.run(names, {INPUT: images.numpy()})
        theirs = {name: torch.from_numpy(array) for name, array in zip(names, found, strict=True)}
        differences = _differences(theirs, ours)
        scale = {name: max(1.0, float(ours[name].abs().max())) for name in names}
        allowed = {name: TOLERANCE * scale[name] for name in names}
        over = {name: value for name, value in differences.items() if not value <= allowed[name]}
        if not over:
            return differences
        moved = _differences(trained(images * (1 + CHANGE)), ours)
        if all(value <= min(SHARE * moved[name], MOST * scale[name]) for name, value in over.items()):
            return differences
        if all(moved[name] <= allowed[name] for name in names):
            name, value = max(over.items(), key=lambda item: item[1] / allowed[item[0]])
            raise AdapterError(
                f"for {batch} images of {size[0]} by {size[1]} pixels, onnxruntime's '{name}' differs from"
                f" torch's by up to {value:.2g}, more than {allowed[name]:.2g}, so nothing was written;"
                " please report it"
            )
    raise AdapterError(
        f"torch's own outputs change much when pixels change by a millionth, on {DRAWS} batches of random"
        " images, so that onnxruntime's cannot be compared with them; nothing was written. A model whose"
        " proposals all have the same score has learned nothing: look at its metrics"
    )


def _differences(theirs: Outputs, ours: Outputs) -> dict[str, float]:
    """The largest absolute difference of each output; of queries, after pairing them."""
    plain = {name: _largest(theirs[name] - ours[name]) for name in ours}
    keys = next((keys for keys in _UNORDERED if set(keys) <= set(ours)), None)
    if keys is None or all(value <= TOLERANCE for value in plain.values()):
        return plain
    paired = dict(ours)
    for image, order in enumerate(_pairs(theirs, ours, keys)):
        paired = {name: _with_row(tensor, image, tensor[image][order]) for name, tensor in paired.items()}
    again = {name: _largest(theirs[name] - paired[name]) for name in ours}
    return min(plain, again, key=lambda found: max(found[name] for name in keys))


def _pairs(theirs: Outputs, ours: Outputs, keys: tuple[str, ...]) -> Iterator[Tensor]:
    """For each image, the number of our query for each of theirs."""
    flat, mine = (torch.cat([of[name].flatten(2) for name in keys], dim=-1) for of in (theirs, ours))
    for rows, columns in zip(flat, mine, strict=True):
        cost = torch.cdist(rows, columns, p=float("inf"))
        # NaN cannot be paired, and is found by the comparison.
        _, order = linear_sum_assignment(cost.nan_to_num(nan=1e9, posinf=1e9).numpy())
        yield torch.as_tensor(order)


def _with_row(tensor: Tensor, row: int, value: Tensor) -> Tensor:
    changed = tensor.clone()
    changed[row] = value
    return changed


def _largest(difference: Tensor) -> float:
    """NaN where there is one."""
    return float(difference.abs().max())
