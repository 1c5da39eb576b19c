"""Writes docs/reference/onnx.md by exporting every kind of model and adapter: `python -m docs.generate_onnx`.

It takes about twenty minutes on two cores. `make test` checks that the page has the installed versions and
every row; `make test-exhaustive` exports them all.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from docs.peft_variants import DEFAULTS
from tests.support.exporting import SETTINGS, UNKNOWN, trained
from tests.support.onnx_models import MODELS, trained_model_of
from trainables.adapters.families.passthrough import offered_methods
from trainables.errors import reason_of
from trainables.export.card_facts import Card
from trainables.export.onnx.compare import BATCHES, TOLERANCE
from trainables.export.onnx.trace import versions
from trainables.export.onnx.write import OnnxResult, export_onnx
from trainables.inference.trained_model import TrainedModel
from trainables.specs.adapters import Adapter
from trainables.specs.workload import Task

FILE = Path(__file__).parent / "reference" / "onnx.md"
PROCESSES = 2
HEAD = "`model_type`"

INTRODUCTION = """\
<!-- Written by `python -m docs.generate_onnx`, which exports every row; do not edit. -->

# ONNX

What [`export --onnx`](commands.md#export) writes, with {versions}. Every row was exported, run by
onnxruntime on the CPU in batches of {batches}, and compared with the trained model in torch: the largest
absolute difference of each output is in the table. More than {tolerance:g}, relative to the largest output
where that is above 1, fails an export: float32 sums in another order stay far below that, and a wrong graph
is far above it. [Export a trained adapter](../how-to/export.md#onnx) says what a folder holds.

A model that is not in the tables is tried too. What torch cannot trace, or onnxruntime computes differently,
is refused with the kind of model, the versions and the reason, and nothing is written.

## Models

Tiny random models with a merged LoRA adapter. A batch of any size goes into every file. **Sides**: `any`
where the model's processor keeps the shape of an image, and `one` where the file takes the size that the
model was trained on. Deformable DETR takes one size whatever its processor does: what its encoder computes
from the size becomes constants.

| {head} | exports | sides | largest differences |
|---|---|---|---|
"""
ADAPTERS = """
## Adapters

On the two embedded backbones. **merged**: the adapter is in the weights. **beside**: PEFT cannot merge the
method, so that it is traced with the adapter beside the weights; the result is the same.

| adapter | ViT | largest differences | YOLOS | largest differences |
|---|---|---|---|---|
"""
METHODS = """
## PEFT methods

Each method of [`adapter: peft`](peft-methods.md) on the embedded ViT.

| method | ViT | largest differences |
|---|---|---|
"""


@dataclass(frozen=True)
class Row:
    """What became of one export. error: why there is none."""

    result: OnnxResult | None
    error: str = ""

    @property
    def exports(self) -> str:
        """How the adapter is in the file, or why there is no file."""
        if self.result is None:
            return f"refused: {self.error}".replace("|", "\\|")
        return "beside" if self.result.merged is False else "merged"

    @property
    def differences(self) -> str:
        """The largest, of each output."""
        found = {} if self.result is None else self.result.differences
        return ", ".join(f"`{name}` {value:.1e}" for name, value in found.items())


def names() -> list[str]:
    """Every row: `model NAME`, `adapter NAME TASK`, `method NAME`."""
    adapters = [name for name in SETTINGS if name in set(Adapter) and name not in ("none", "peft")]
    tasks = (Task.SEGMENTATION, Task.DETECTION)
    return [
        *(f"model {name}" for name in MODELS),
        *(f"adapter {name} {task}" for name in adapters for task in tasks),
        *(f"method {name}" for name in offered_methods()),
    ]


def row_of(name: str) -> Row:
    """Export what a row is about."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        try:
            model = _model(name, Path(folder) / "base")
            to = Path(folder) / "out"
            return Row(export_onnx(model, to, merge=False, external_data=False, card=Card(name)))
        except Exception as error:  # the page says what happened
            return Row(None, reason_of(error).splitlines()[0])


def _model(name: str, base: Path) -> TrainedModel:
    what, rest = name.split(" ", 1)
    if what == "model":
        return trained_model_of(rest, base, {"adapter": "lora"})
    if what == "adapter":
        adapter, task = rest.split(" ")
        return trained(Task(task), SETTINGS[adapter], UNKNOWN)
    settings: dict[str, Any] = {"method": rest, "arguments": DEFAULTS.get(rest, {})}
    return trained(Task.SEGMENTATION, {"adapter": "peft", "peft": settings}, UNKNOWN)


def page(found: Mapping[str, Row]) -> str:
    """The whole page. found: what `row_of` gives for each of `names`."""
    said = ", ".join(f"{name} {version.split('+')[0]}" for name, version in versions().items())
    head = INTRODUCTION.format(
        versions=said, batches=" and ".join(map(str, BATCHES)), tolerance=TOLERANCE, head=HEAD
    )
    return (
        head
        + "".join(_models(found))
        + ADAPTERS
        + "".join(_adapters(found))
        + METHODS
        + "".join(f"| `{name}` | {row.exports} | {row.differences} |\n" for name, row in _of("method", found))
    )


def _models(found: Mapping[str, Row]) -> Iterator[str]:
    for name, row in _of("model", found):
        kind, _, also = name.partition(", ")
        exports = "yes" if row.result is not None else row.exports
        sides = "" if row.result is None else "any" if row.result.free_sizes else "one"
        yield f"| `{kind}`{', ' + also if also else ''} | {exports} | {sides} | {row.differences} |\n"


def _adapters(found: Mapping[str, Row]) -> Iterator[str]:
    for name, vit in _of("adapter", found):
        adapter, task = name.split(" ")
        if task == Task.SEGMENTATION:
            yolos = found[f"adapter {adapter} {Task.DETECTION}"]
            cells = (vit.exports, vit.differences, yolos.exports, yolos.differences)
            yield f"| `{adapter}` | {' | '.join(cells)} |\n"


def _of(what: str, found: Mapping[str, Row]) -> Iterator[tuple[str, Row]]:
    for name, row in found.items():
        if name.startswith(f"{what} "):
            yield name.removeprefix(f"{what} "), row


def main() -> None:
    """Write the page."""
    found: dict[str, Row] = {}
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        for name, row in zip(names(), pool.map(row_of, names()), strict=True):
            found[name] = row
            print(name, row.exports, row.differences, file=sys.stderr, flush=True)
    FILE.write_text(page(found), encoding="utf-8")
    print(f"wrote {FILE}", file=sys.stderr)


if __name__ == "__main__":
    main()
