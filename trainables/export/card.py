"""The model card of an exported model: what it is, how to load it, its metrics, and how it was trained."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from trainables.adapters.registry import FAMILIES
from trainables.backbones import EMBEDDED
from trainables.export.card_facts import VALIDATION, Card, ExportFacts
from trainables.export.card_header import header_text, main_metrics
from trainables.inference.trained_model import TrainedModel
from trainables.metrics.above_floor import metric_floor
from trainables.specs.definition_words import definitions_in_words
from trainables.specs.tasks import SCORE_THRESHOLD
from trainables.specs.trial import TrialConfig
from trainables.specs.workload import MetricName, Workload
from trainables.tasks.labelled_model import LabelledModel
from trainables.tasks.segmenters.instances import QueryTask
from trainables.tasks.segmenters.own_heads import OwnHeadTask

PACKAGES: Mapping[str, tuple[str, ...]] = {"ADAMSS": ("scikit-learn",)}
"""What PEFT's methods need for loading besides what PEFT itself needs, by the method."""


def card_text(trained: TrainedModel, card: Card, facts: ExportFacts) -> str:
    """The card as Markdown, with the metadata header of the hub."""
    parts = [
        header_text(trained, card, facts),
        f"# {card.title}\n\n{_intro(trained, facts)}",
        f"## Use\n\n{_use(trained, facts)}{_threshold(card)}",
        *training_sections(trained, card),
    ]
    return "\n\n".join(parts) + "\n"


def training_sections(trained: TrainedModel, card: Card) -> list[str]:
    """What is true of a trained model in whatever format: labels, metrics, data, and how it was made."""
    return [
        f"## Labels\n\n{_labels(trained)}",
        f"## Metrics\n\n{_metrics(trained, card)}{_confirmed(card)}",
        f"## Data\n\n{_data(trained.workload, card)}",
        f"## Configuration\n\n{_configuration(trained.config, card)}",
        f"## Environment\n\n{_environment(card)}",
    ]


def _confirmed(card: Card) -> str:
    if not card.confirmed:
        return ""
    return f"\n\nThe best trials of its search were repeated over new seeds: {card.confirmed}."


def backbone_name(workload: Workload) -> str:
    """The pretrained model in words."""
    name = workload.model.name
    return f"the embedded {EMBEDDED[workload.task].name}" if name == "embedded" else name


def _intro(trained: TrainedModel, facts: ExportFacts) -> str:
    config, workload = trained.config, trained.workload
    name = backbone_name(workload)
    if Path(name).is_absolute() and facts.base != name:  # it is in the folder, so its place does not matter
        name = f"the local model {Path(name).name}"
    on = f"on {name}" + (f", revision {facts.revision}" if facts.revision else "")
    if facts.whole:
        merged = "" if config.adapter == "none" else f", with its {config.adapter} adapter merged"
        made = f"A complete model for {workload.task}, trained {on} (freezing: {config.mode}){merged}."
    else:
        form = f"PEFT's {facts.method} format"
        if FAMILIES[config.adapter].exported is not None:
            form += f", converted exactly from its {config.adapter} adapter"
        made = f"An adapter for {workload.task} {on} (freezing: {config.mode}), in {form}."
    return (
        f"{made} After the export, its outputs were compared with those of the trained model: "
        f"they differ by at most {facts.difference:.1e}."
    )


def _use(trained: TrainedModel, facts: ExportFacts) -> str:
    also = PACKAGES.get(facts.method or "", ())
    needs = _listed(["torch", "transformers", *([] if facts.whole else ["peft"]), "safetensors", *also])
    remote = trained.workload.model.trust_remote_code
    height, width = trained.task.resize.target(480, 640)
    lines = [
        f"`use.py` in this folder loads it and needs only {needs}"
        + (f"; PEFT's {facts.method} does not load without {_listed(also)}:" if also else ":"),
        "",
        "```python",
        "from use import load, processor",
        "",
        "model = load(trust_remote_code=True)  # it runs the code of the backbone's repository"
        if remote
        else "model = load()  # or load('path/to/this/folder')",
        "inputs = processor()(images=[image], return_tensors='pt')  # needs pillow",
    ]
    if facts.segments:
        named = "scores" if isinstance(trained.task, OwnHeadTask) else "logits"
        lines += [
            f"{named} = model(inputs['pixel_values'])  # (1, {len(trained.classes)}, {height}, {width})",
            f"classes = {named}.argmax(1)  # of each pixel",
            "```",
        ]
        return "\n".join([*lines, *_own_head(trained, facts)])
    load, read = _found(trained)
    lines += [*read, "```", *_for_who_trains_on(trained)]
    if facts.whole:
        called = f"{load}.from_pretrained('path/to/this/folder')"
        return "\n".join([*lines, "", f"Or like any other detector: `{called}`."])
    return "\n".join([*lines, *_by_hand(trained, facts, load)])


def _found(trained: TrainedModel) -> tuple[str, list[str]]:
    """The class of transformers that loads a model with boxes or masks of objects, and how it is read."""
    if isinstance(trained.task, QueryTask):
        gives = "out.class_queries_logits, out.masks_queries_logits"
        return "AutoModelForUniversalSegmentation", [f"out = model(**inputs)  # {gives}"]
    if trained.workload.task.facts.instances:
        gives = "out.logits, out.pred_boxes, out.pred_masks"
        return "AutoModelForInstanceSegmentation", [f"out = model(**inputs)  # {gives}"]
    return "AutoModelForObjectDetection", [
        "out = model(**inputs)  # out.logits, out.pred_boxes",
        "found = processor().post_process_object_detection(",
        "    out, threshold=0.5, target_sizes=[(image.height, image.width)]",
        ")[0]  # scores, labels, boxes as x0, y0, x1, y1 in the image's pixels",
    ]


def _for_who_trains_on(trained: TrainedModel) -> list[str]:
    """What transformers does to a model's convolutional backbone: who trains it on must know."""
    backbone = getattr(trained.task.model.config, "backbone_config", None)  # type: ignore[attr-defined]
    if getattr(backbone, "model_type", "") != "resnet":
        return []
    return [
        "",
        "Whoever trains it on: transformers builds this model with all weights of its ResNet frozen, whatever"
        " trained here; set `requires_grad` of those that should train.",
    ]


def _by_hand(trained: TrainedModel, facts: ExportFacts, load: str) -> list[str]:
    """How the adapter of a model with its own head is loaded without `use.py`. load: transformers' class."""
    base = {"base": "'path/to/this/folder/base'"}.get(facts.base or "", repr(facts.base))
    pinned = f", revision='{facts.revision}'" if facts.revision else ""
    return [
        "",
        "Or without `use.py`; the classifier is in the adapter, and its size may differ from the base's:",
        "",
        "```python",
        "from peft import PeftModel",
        f"from transformers import AutoConfig, {load}",
        "",
        "folder = 'path/to/this/folder'",
        f"base = {load}.from_pretrained(",
        f"    {base}{pinned}, config=AutoConfig.from_pretrained(folder), ignore_mismatched_sizes=True",
        ")",
        *_untied(getattr(trained.task, "model", None)),
        "model = PeftModel.from_pretrained(base, folder).eval()",
        "```",
    ]


def _untied(model: object) -> list[str]:
    """What keeps PEFT from treating the tied heads of a model as embeddings."""
    held = [vars(kind).get("_tied_weights_keys") for kind in type(model).__mro__]
    named = next((keys for keys in held if keys is not None), None)
    if isinstance(named, property):  # which cannot be set
        return [
            "from use import untie  # in the folder",
            "",
            "untie(base)  # PEFT would take tied heads for embeddings",
        ]
    return (
        ["base._tied_weights_keys = None  # PEFT would treat the tied heads as embeddings"] if named else []
    )


def _own_head(trained: TrainedModel, facts: ExportFacts) -> list[str]:
    """How a segmenter with its own head is used with transformers alone."""
    task = trained.task
    if not isinstance(task, OwnHeadTask):
        return []
    load = task.family.auto
    gives = (
        "gives what transformers documents; the processor's `post_process_semantic_segmentation` makes of it"
        " the same classes, numbered as below"
    )
    if facts.whole:
        return ["", f"Or like any other model: `{load}.from_pretrained('path/to/this/folder')` {gives}."]
    return [*_by_hand(trained, facts, load), "", f"It {gives}."]


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _threshold(card: Card) -> str:
    if (score := card.metrics.get(SCORE_THRESHOLD)) is None:
        return ""
    return (
        f"\n\nTo draw or count boxes, take those with a score of {score:.4g} or more (`threshold()` in"
        " `use.py`, from `threshold.json`): on the validation images this gives the highest F1, where a box"
        " is right if its IoU with a free object of its class is at least 0.5. COCO metrics use no threshold."
    )


def _labels(trained: TrainedModel) -> str:
    task = trained.task
    if isinstance(task, LabelledModel) and task.ids is not None:
        known = zip(task.ids.tolist(), task.classes, strict=True)
        return f"The labels of the checkpoint. Those in the data: {_numbered(known)}."
    return f"{_numbered(enumerate(trained.classes))}."


def _numbered(labels: Iterable[tuple[int, str]]) -> str:
    return ", ".join(f"{number}: {name}" for number, name in labels)


def _metrics(trained: TrainedModel, card: Card) -> str:
    workload = trained.workload
    main = main_metrics(workload)
    if not card.metrics and not card.test:
        return "No metrics are recorded."
    rows: list[tuple[str, Mapping[str, float]]] = []
    if card.metrics:
        at = f", epoch {card.epoch:g}" if card.epoch is not None else ""
        rows += [(f"validation images{at}", card.metrics), *_floors(workload, card, VALIDATION, main)]
        for domain in workload.domains_of_objective:
            images = f"{VALIDATION} of {domain}"
            shifted = {
                key: card.metrics[f"{key}@{domain}"] for key in main if f"{key}@{domain}" in card.metrics
            }
            rows += [(f"{images}{at}", shifted), *_floors(workload, card, images, main)]
    for name, metrics in card.test.items():
        rows += [(f"test images, {name}", metrics), *_floors(workload, card, name, main)]
    lines = ["| | " + " | ".join(main) + " |", "|---" * (len(main) + 1) + "|"]
    for name, metrics in rows:
        cells = [f"{metrics[key]:.4f}" if key in metrics else "–" for key in main]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "The configuration was selected on the validation images, so its validation metrics are optimistic.",
    ]
    known = {k: v for k, v in card.metrics.items() if "/" not in k or k == workload.objective.metric}
    parts = ["\n".join(lines), *_worth(workload, card)]
    parts.append(f"All metrics on validation images: `{json.dumps(_rounded(known))}`")
    return "\n\n".join(parts)


def _floors(
    workload: Workload, card: Card, images: str, names: Iterable[str]
) -> list[tuple[str, Mapping[str, float]]]:
    """The row below the metrics on some images; none without floors, or for boxes, where all are 0.

    names: of metrics without a domain; a class name may contain '@'.
    """
    if not workload.definitions.with_floors or not workload.task.facts.masks:
        return []
    floors = card.floors.get(images, {})
    found = {name: metric_floor(MetricName.of(name, ()), floors) for name in names}
    known = {name: floor for name, floor in found.items() if floor is not None}
    return [("floor of these images", known)] if known else []


def _worth(workload: Workload, card: Card) -> list[str]:
    """What the floors are, whether the model is better, and what the metrics mean."""
    parts = []
    if workload.definitions.with_floors:
        what = "what the best constant predictor reaches on the same images"
        zero = "" if workload.task.facts.masks else "; for AP and AR it is 0"
        parts.append(f"Floor: {what}{zero}.")
    if card.collapsed:
        parts.append(
            f"**This model has collapsed**: the 95 % interval of its {workload.objective.metric} minus the"
            " floor, over the validation images, does not lie above 0. It is no better than a constant"
            " predictor."
        )
    words = definitions_in_words(workload.definitions, workload.task)
    parts.append("Definitions: " + "; ".join(f"{key} {said}" for key, said in words.items()) + ".")
    return parts


def _data(workload: Workload, card: Card) -> str:
    source = workload.data.source
    counts = ", ".join(f"{number} {part}" for part, number in card.counts.items())
    shown = json.dumps({workload.data.kind: source.model_dump(mode="json", exclude_none=True)}, indent=2)
    return (f"Images: {counts}.\n\n" if counts else "") + f"```json\n{shown}\n```"


def _configuration(config: TrialConfig, card: Card) -> str:
    parts = []
    if card.file:
        parts.append(f"```yaml\n{card.file.strip()}\n```")
    else:
        parts.append(f"```json\n{config.model_dump_json(exclude_unset=True, indent=2)}\n```")
    if card.reproduce:
        parts.append(
            "This command trains it again, with bit-identical results on the same machine:"
            f"\n\n```\n{card.reproduce}\n```"
        )
    return "\n\n".join(parts)


def _environment(card: Card) -> str:
    if not card.environment:
        return "adaptertune; no other versions are recorded."
    lines = []
    for name, value in card.environment.items():
        shown = (
            ", ".join(f"{k} {v}" for k, v in value.items())
            if isinstance(value, Mapping)
            else ", ".join(map(str, value))
            if isinstance(value, list | tuple)
            else str(value)
        )
        lines.append(f"- {name}: {shown}")
    return "\n".join(lines)


def _rounded(metrics: Mapping[str, float]) -> dict[str, float]:
    return {name: round(float(value), 5) for name, value in metrics.items()}
