"""The metadata header of a model card, as the hub reads it."""

from __future__ import annotations

import math
from pathlib import Path

from huggingface_hub import EvalResult, ModelCardData

from trainables.export.card_facts import VALIDATION, Card, ExportFacts
from trainables.inference.trained_model import TrainedModel
from trainables.specs.workload import Workload


def header_text(trained: TrainedModel, card: Card, facts: ExportFacts) -> str:
    """The card's metadata in YAML, as the hub reads it."""
    is_id = facts.base is not None and facts.base != "base" and not Path(facts.base).is_absolute()
    shows_masks = facts.segments or trained.workload.task.facts.instances
    task = "image-segmentation" if shows_masks else "object-detection"
    data = ModelCardData(
        library_name="transformers" if facts.whole else "peft",
        base_model=facts.base if is_id else None,  # the hub accepts only ids
        pipeline_tag=task,
        tags=["adaptertune", trained.config.adapter.value],
        model_name=card.title,
        eval_results=_results(trained.workload, card, task) or None,
    )
    return f"---\n{data.to_yaml().strip()}\n---"


def _results(workload: Workload, card: Card, task: str) -> list[EvalResult]:
    """The metrics of the card's table as the hub reads them: on test images, else on validation images.

    As plain floats: of a NumPy number, YAML makes a tag that the hub's own library refuses to read.
    """
    images = {f"test images, {name}": metrics for name, metrics in card.test.items()}
    return [
        EvalResult(
            task_type=task,
            dataset_type=workload.data.kind,
            dataset_name=name,
            dataset_config=name,  # without one, the hub's library joins the results of all domains
            metric_type=str(key),
            metric_value=float(metrics[key]),
        )
        for name, metrics in (images or {VALIDATION: card.metrics}).items()
        for key in main_metrics(workload)
        if key in metrics and math.isfinite(metrics[key])
    ]


def main_metrics(workload: Workload) -> tuple[str, ...]:
    """The metrics of the card's table, that of the objective first."""
    return tuple(dict.fromkeys((workload.metric_in_domain, *workload.task.facts.card_metrics)))
