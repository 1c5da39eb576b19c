"""The card of an ONNX folder: what goes in, what comes out, a program that reads it, and how it was made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from trainables.data.resize import Interpolation, Resize
from trainables.export.card import backbone_name, training_sections
from trainables.export.card_facts import Card
from trainables.export.onnx.compare import BATCHES, TOLERANCE
from trainables.export.onnx.snippet import output_names, snippet
from trainables.export.onnx.trace import INPUT
from trainables.inference.trained_model import TrainedModel
from trainables.specs.tasks import SCORE_THRESHOLD
from trainables.tasks.detection import DetectionTask

OUTPUTS: Mapping[str, str] = {
    "scores": "(batch, {classes}, height, width): the highest decides the class of a pixel",
    "logits": "(batch, queries, {columns}): {meaning}",
    "pred_boxes": "(batch, queries, 4): centre x, centre y, width and height, as shares of the image",
    "pred_masks": "(batch, queries, rows, columns): a pixel is in the mask if its logit is above 0",
    "class_queries_logits": "(batch, queries, labels + 1): a softmax gives scores; the last is 'no object'",
    "masks_queries_logits": "(batch, queries, rows, columns): a pixel is in the mask if its logit is above 0",
}
"""What each output is, by its name."""


@dataclass(frozen=True)
class OnnxFacts:
    """What the export determines.

    file: the ONNX file's name.  opset: of its operators.  size: (height, width) of the compared images.
    free_sizes: whether it takes other ones.  merged: whether the adapter is merged; None without one.
    differences: the largest, by output.  versions: of torch, transformers and the ONNX packages.
    """

    file: str
    opset: int
    size: tuple[int, int]
    free_sizes: bool
    merged: bool | None
    differences: Mapping[str, float]
    versions: Mapping[str, str]


def onnx_card(trained: TrainedModel, card: Card, facts: OnnxFacts) -> str:
    """The card as Markdown, with the metadata header of the hub."""
    threshold = card.metrics.get(SCORE_THRESHOLD)
    program = snippet(trained, facts.file, INPUT, threshold)
    parts = [
        _header(trained),
        f"# {card.title}\n\n{_intro(trained, facts)}",
        f"## Input\n\n{_input(trained, facts)}",
        f"## Outputs\n\n{_outputs(trained)}",
        f"## Use\n\nIn this folder, with onnxruntime and numpy alone:\n\n```python\n{program}```\n\n"
        + _call(trained, facts, threshold),
        *training_sections(trained, card),
    ]
    return "\n\n".join(parts) + "\n"


def _header(trained: TrainedModel) -> str:
    facts = trained.workload.task.facts
    kind = "image-segmentation" if facts.masks or facts.instances else "object-detection"
    lines = ["---", "library_name: onnx", f"pipeline_tag: {kind}", "tags:", "- adaptertune", "- onnx"]
    return "\n".join([*lines, f"- {trained.config.adapter}", "---"])


def _intro(trained: TrainedModel, facts: OnnxFacts) -> str:
    config, workload = trained.config, trained.workload
    merged = {
        None: "",
        True: f", with its {config.adapter} adapter merged into the weights",
        False: f", with its {config.adapter} adapter beside the weights, as PEFT cannot merge it",
    }[facts.merged]
    made = ", ".join(f"{name} {version}" for name, version in facts.versions.items())
    measured = "; ".join(f"`{name}` {value:.1e}" for name, value in facts.differences.items())
    return (
        f"A complete model for {workload.task} in ONNX (opset {facts.opset}), trained on"
        f" {backbone_name(workload)} (freezing: {config.mode}){merged}. Written with {made}.\n\n"
        f"On the CPU, onnxruntime's outputs differ from those of the trained model in torch by at most"
        f" {measured}: measured on random images, in batches of {_listed(BATCHES)}. Both compute in float32"
        f" and sum in another order; more than {TOLERANCE:g}, relative to the largest output where that is"
        " above 1, would have failed the export."
    )


def _input(trained: TrainedModel, facts: OnnxFacts) -> str:
    scale, (height, width) = trained.task.scale, facts.size
    sides = "height, width" if facts.free_sizes else f"{height}, {width}"
    lines = [
        f"`{INPUT}`: float32, (batch, 3, {sides}), RGB; a batch of any size.",
        "",
        f"- {_sizes(trained.task.resize, facts)}",
        f"- Values are (pixel · {scale.factor:.10g} − mean) ÷ std, for pixels from 0 to 255, with mean"
        f" {_triple(scale.mean)} and std {_triple(scale.std)} of red, green and blue"
        " (`preprocessor_config.json`).",
    ]
    if facts.free_sizes:
        lines.append("- Images of one batch have the same size: the file has no mask of padded pixels.")
    return "\n".join(lines)


def _sizes(resize: Resize, facts: OnnxFacts) -> str:
    height, width = facts.size
    how = resize.interpolation
    by = (
        "bilinearly between the four nearest pixels, without averaging"
        if how is Interpolation.BILINEAR_POINTS
        else f"with Pillow's `Resampling.{how.value.upper()}`"
    )
    if resize.is_fixed:
        return f"Images are resized to height {height} and width {width}, whatever their shape, {by}."
    most = (
        "" if resize.longest_edge is None else f", or less if the longest would exceed {resize.longest_edge}"
    )
    step = "" if resize.multiple_of == 1 else f", both rounded down to a multiple of {resize.multiple_of}"
    rule = f"so that the shortest edge has {resize.shortest_edge} pixels{most}{step}"
    if facts.free_sizes:
        return f"In training, images kept their shape and were resized {rule}, {by}."
    return (
        f"In training, images kept their shape and were resized {rule}. The file takes height {height} and"
        f" width {width} only, as this kind of model cannot be traced for all sizes: resize every image to"
        f" that, {by}."
    )


def _outputs(trained: TrainedModel) -> str:
    softmax = isinstance(trained.task, DetectionTask) and trained.task.family.no_object
    words = {
        "classes": len(trained.classes),
        "columns": "labels + 1" if softmax else "labels",
        "meaning": "a softmax gives scores; the last is 'no object'" if softmax else "a sigmoid gives scores",
    }
    return "\n".join(f"- `{name}`: {OUTPUTS[name].format(**words)}" for name in output_names(trained))


def _call(trained: TrainedModel, facts: OnnxFacts, threshold: float | None) -> str:
    height, width = facts.size
    size = "" if output_names(trained) == ["scores"] else ", (photo.height, photo.width)"
    how = trained.task.resize.interpolation
    filtered = Interpolation.BILINEAR if how is Interpolation.BILINEAR_POINTS else how
    lines = [
        "`find` takes an RGB image as (height, width, 3) uint8, resized as above. With Pillow, for example:",
        "",
        "```python",
        "from PIL import Image",
        "",
        'photo = Image.open("photo.jpg").convert("RGB")',
        f"small = photo.resize(({width}, {height}), Image.Resampling.{filtered.value.upper()})"
        + ("  # or another size, see above" if facts.free_sizes else ""),
        f"print(find(np.asarray(small){size}))",
        "```",
    ]
    if threshold is not None:
        lines += ["", f"The threshold {threshold:.4g} has the highest F1 on validation images."]
    return "\n".join(lines)


def _triple(values: tuple[float, ...]) -> str:
    return "(" + ", ".join(f"{value:.6g}" for value in values) + ")"


def _listed(numbers: tuple[int, ...]) -> str:
    return " and ".join(str(number) for number in numbers)
