"""Writes docs/reference/models.md, every family of models: `python -m docs.generate_models`.

Roles and sizes are found on tiny models of each family; what a loss is and what is refused is said here.
`make test` checks that the page is what this makes.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peft
import torch
import transformers
from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES

from tests.support.saved_detectors import KINDS, save_detector
from tests.support.saved_models import VITS, save_own_head, save_siglip, save_vit, save_yolos
from trainables.specs.adapters import Role
from trainables.specs.workload import ModelSpec, ObjectiveSpec, Task, Workload
from trainables.tasks.detectors import DETECTOR_FAMILIES, INSTANCE_FAMILIES
from trainables.tasks.processors import OF_MODELS, SUBSTITUTES
from trainables.tasks.registry import load_task
from trainables.tasks.segmenters.instances import QUERY_MODELS
from trainables.tasks.segmenters.registry import SEGMENTER_FAMILIES
from trainables.tasks.segmenters.vits import VIT_FAMILIES

FILE = Path(__file__).parent / "reference" / "models.md"
CPU = torch.device("cpu")

INTRODUCTION = """\
<!-- Written by `python -m docs.generate_models`; do not edit. -->

# Models

The families of models, by the `model_type` in a checkpoint's `config.json`, with transformers {transformers}
and PEFT {peft}. Each is tried on a tiny random model: loss and gradients equal transformers' own on the same
batch, every adapter with every freezing mode, eight images learned by heart, and an export that transformers
and PEFT load with the same outputs. No published checkpoint was loaded for this page.
[ONNX](onnx.md) says what `export --onnx` makes of each.

- **processor**: the class in transformers. Its size, scaling and interpolation count; Pillow does the work.
- **roles**: what `targets` can name, found by inspecting the model. Encoder and decoder blocks share one
  numbering. Layers that are not linear, and the head, are never adapted.
- **sides**: what height and width must be multiples of; `model.image_size` sets them.
- **alone**: the trial takes its steps alone, never in a [pack](../explanation/packed-training.md).
- **in training mode**: all that is frozen is in evaluation mode in training, except these modules, which
  compute something else then that the loss needs.
"""

DETECTION = """\
## Detectors

Boxes and losses are computed in float32 also under bf16. Labels are matched by name; for other classes the
last layers of the classifiers, and RT-DETR's embedding of denoising labels, are drawn anew. A label past the
last output, which transformers takes for "no object", is refused when a checkpoint is loaded. The `loss` of
validation images lacks denoising queries and earlier levels, so it does not compare with the training loss.
"""

SEGMENTATION = """\
## Segmenters

All are scored by one confusion matrix at mask resolution. Images of ignored pixels only are refused when data
are prepared.
"""


INSTANCES = """\
## Masks of single objects

`task: instance_segmentation` takes {families}, with a mask for each object; [the
experiment file](experiment-file.md#model) says how objects are chosen, scored and enlarged. Losses are
those of transformers (`RfDetrForSegmentationLoss`, and Mask2Former's with a mask for each object), at random
points, which are the same in every evaluation. Roles, sides and processors are those of the same
`model_type` above; of RF-DETR, which must have its mask head, the detector is the part `model`. Trials take
their steps alone.
"""


@dataclass(frozen=True)
class Facts:
    """What a row says beside what is found on a model."""

    loss: str
    scores: str
    refused: str = ""


_NO_OBJECT = "softmax with 'no object'; the best class of each query"
_HUNDRED = "sigmoid; the best 100 classes of queries"
_QUERIES = "sigmoid; as many classes of queries as there are queries"
_DETR = "cross-entropy, L1 and GIoU, of every decoder level if `auxiliary_loss`"
_FOCAL = "focal, L1 and GIoU, of every decoder level if `auxiliary_loss`"
_RT = "varifocal, L1 and GIoU, of every level, of the encoder's choice and of denoising queries"
_GROUPS = "IoU-aware, L1 and GIoU, of every level, of the encoder's choice and of every group of queries"
_CELLS = "images with fewer cells in their feature maps than the model has queries"
DETECTORS: Mapping[str, Facts] = {
    "yolos": Facts(
        "cross-entropy, L1 and GIoU", _NO_OBJECT, "`auxiliary_loss`: transformers raises a TypeError with it"
    ),
    "detr": Facts(_DETR, _NO_OBJECT),
    "table-transformer": Facts(_DETR, _NO_OBJECT),
    "conditional_detr": Facts(_FOCAL, _HUNDRED),
    "dab-detr": Facts(_FOCAL, _HUNDRED),
    "deformable_detr": Facts(
        f"{_FOCAL}; two-stage: also of the proposals, which transformers leaves out",
        _HUNDRED,
        f"two-stage: {_CELLS}",
    ),
    "rt_detr": Facts(_RT, _QUERIES, _CELLS),
    "rt_detr_v2": Facts(_RT, _QUERIES, _CELLS),
    "d_fine": Facts(f"{_RT}; distributions of corners and their distillation", _QUERIES, _CELLS),
    "deimv2": Facts(
        "matching-aware, L1, GIoU, distributions of corners, matched densely, and of denoising queries",
        _QUERIES,
        _CELLS,
    ),
    "lw_detr": Facts(
        "IoU-aware, L1 and GIoU, of every level, of the encoder's choice and of every group", _HUNDRED, _CELLS
    ),
    "rf_detr": Facts(
        _GROUPS,
        _QUERIES,
        f"images that are not square, whose windows transformers cuts wrongly; {_CELLS}",
    ),
}
_OURS = "ours (`loss`)"
_HIGHEST = "highest logit"
_SQUARE = "pretrained on images that are not square, at another size: transformers takes the grid as square"
_OWN = "`loss`, `head`, `loss_weights`"
SEGMENTERS: Mapping[str, Facts] = {
    "vit": Facts(_OURS, _HIGHEST, _SQUARE),
    "deit": Facts(_OURS, _HIGHEST, _SQUARE),
    "dinov2": Facts(_OURS, _HIGHEST, "pretrained on images that are not square"),
    "dinov2_with_registers": Facts(_OURS, _HIGHEST, "pretrained on images that are not square"),
    "dinov3_vit": Facts(_OURS, _HIGHEST),
    "beit": Facts(_OURS, _HIGHEST, "pretrained on images that are not square"),
    "siglip_vision_model": Facts(_OURS, _HIGHEST, _SQUARE),
    "siglip": Facts(_OURS, _HIGHEST, _SQUARE),
    "segformer": Facts(
        "cross-entropy over all pixels of a batch; 0 without a counted pixel, where transformers' is NaN",
        "highest logit, enlarged bilinearly",
        f"`reshape_last_stage: false`; a part of `decode_head`; {_OWN}",
    ),
    "mask2former": Facts(
        "matched masks (cross-entropy, Dice) and classes, of every decoder level, at random points",
        "the sum over queries of class × mask",
        f"32×32 pixels (a group norm of one value); {_OWN}",
    ),
    "eomt": Facts(
        "matched masks and classes, of each of the last blocks",
        "the sum over queries of class × mask",
        f"another size than the config's; {_OWN}",
    ),
    "eomt_dinov3": Facts(
        "matched masks and classes, of each of the last blocks",
        "the sum over queries of class × mask",
        f"another size than the config's; {_OWN}",
    ),
}


def page() -> str:
    """The whole page."""
    versions = {"transformers": transformers.__version__, "peft": peft.__version__}
    with tempfile.TemporaryDirectory() as folder:
        detectors = [_row(Path(folder), Task.DETECTION, name, DETECTORS[name]) for name in DETECTOR_FAMILIES]
        segmenters = [
            _row(Path(folder), Task.SEGMENTATION, name, SEGMENTERS[name])
            for name in (*VIT_FAMILIES, *SEGMENTER_FAMILIES)
        ]
    head = "| `model_type` | loss | {what} | processor | roles | sides | alone | in training mode | refused |"
    line = "|" + "---|" * 9
    parts = [
        INTRODUCTION.format(**versions),
        DETECTION,
        "\n".join([head.format(what="scores"), line, *detectors]) + "\n",
        SEGMENTATION,
        "\n".join([head.format(what="class of a pixel"), line, *segmenters]) + "\n",
        INSTANCES.format(
            families=" and ".join(f"`{name}`" for name in (*INSTANCE_FAMILIES, *sorted(QUERY_MODELS)))
        ),
    ]
    return "\n".join(parts)


def _row(folder: Path, task: Task, name: str, facts: Facts) -> str:
    saved = _saved(folder / name, task, name)
    spec = ModelSpec(name=str(saved))
    workload = Workload(task=task, model=spec, objective=ObjectiveSpec(metric="loss"))
    loaded: Any = load_task(workload, ("one", "two"), CPU)
    model = loaded.model if hasattr(loaded, "model") else loaded.backbone
    cells = (
        f"`{name}`",
        facts.loss,
        facts.scores,
        _processor(name),
        _roles(loaded.layout),
        _sides(task, name, model.config),
        "" if loaded.packs else "yes",
        ", ".join(f"`{part or 'the model'}`" for part in _numbered(loaded.training_modules(model))),
        facts.refused,
    )
    return f"| {' | '.join(cells)} |"


def _saved(folder: Path, task: Task, name: str) -> Path:
    if task is Task.DETECTION:
        kind = next((kind for kind, (family, _) in KINDS.items() if family == name), None)
        return save_yolos(folder) if kind is None else save_detector(folder, kind)
    if name == "siglip":
        return save_siglip(folder)
    return save_vit(folder, name) if name in VITS else save_own_head(folder, name)


def _processor(name: str) -> str:
    """The class of transformers, and which one stands in for it."""
    named = OF_MODELS.get(name)
    if named is None:
        key = name if name in IMAGE_PROCESSOR_MAPPING_NAMES else name.removesuffix("_vision_model")
        known = IMAGE_PROCESSOR_MAPPING_NAMES.get(key) or IMAGE_PROCESSOR_MAPPING_NAMES["dinov2"]
        named = known["torchvision"]
    other = SUBSTITUTES.get(named)
    return f"`{named}`" + (f", read as `{other.name}`" if other is not None else "")


def _roles(layout: Any) -> str:
    """The roles of a model, with the blocks that lack one."""
    blocks = set(range(len(layout.blocks)))
    found = []
    for role in Role:
        held = {layout.block_of(name) for name in layout.linears.get(role, ())}
        if held:
            found.append(role.value if held == blocks else f"{role.value} (not in all blocks)")
    return ", ".join(found)


def _sides(task: Task, name: str, config: Any) -> str:
    if task is Task.DETECTION:
        rule = DETECTOR_FAMILIES[name].sizes(config)
        if rule.step == 1:
            return "any" if rule.rounded_to == 1 else f"any; rounded to {rule.rounded_to} by its processor"
        why = {"rf_detr": "patch × windows", "lw_detr": "patch × windows of a side"}.get(name)
        text = why or f"{rule.step}, the coarsest stride"
        return f"{text}, square" if rule.square else text
    return {
        "segformer": "stride × reduction, 32 for published checkpoints",
        "mask2former": "32",
        "eomt": "the config's `image_size`",
        "eomt_dinov3": "the config's `image_size`",
    }.get(name, "the patch")


def _numbered(names: Iterable[str]) -> list[str]:
    found = {".".join("*" if part.isdigit() else part for part in name.split(".")) for name in names}
    return sorted(found)


def main() -> None:
    """Write the page."""
    FILE.write_text(page(), encoding="utf-8")
    print(f"wrote {FILE}", file=sys.stderr)


if __name__ == "__main__":
    main()
