"""The metrics of a trained model on test images: in its own domain, and in each shifted domain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import nn

from trainables.data.prepared import PreparedSplit
from trainables.inference.trained_model import TrainedModel
from trainables.metrics.above_floor import Interval
from trainables.metrics.details import Thresholds
from trainables.metrics.intervals import interval
from trainables.metrics.results import Keep, Results
from trainables.metrics.robustness import scored_robustness
from trainables.specs.data import Split
from trainables.specs.trial import TrialConfig
from trainables.specs.workload import ROBUSTNESS, MetricName, Workload
from trainables.training.engine import Engine
from trainables.training.evaluation import metrics_of


@dataclass(frozen=True)
class Scores:
    """Metrics on test images.

    test: in the data's own domain; empty if it has no test images.  domains: by domain.
    robustness: the main metric in each domain as a share of the one in `test`, both above their floors;
    see `trainables.metrics.above_floor.relative_robustness`.
    above_floor: the interval of a metric minus its floor, of the main metric and of the objective's, by
    name: `dice`, `dice@DOMAIN`. For AP and AR only its sign is meant, see `Interval`.
    """

    test: dict[str, float]
    domains: dict[str, dict[str, float]]
    robustness: dict[str, float]
    above_floor: dict[str, Interval] = field(default_factory=dict)


def score_model(
    engine: Engine,
    model: nn.Module,
    config: TrialConfig,
    keep: Callable[[str | None, Results], None] | None = None,
) -> Scores:
    """Metrics of `model` on the test images and in each of `engine.domains`.

    keep: called with each domain (None: the data's own) and the results on its images.
    """
    wanted = sampled_metrics(engine.workload)
    intervals: dict[str, Interval] = {}

    def metrics_in(domain: str | None, part: PreparedSplit) -> dict[str, float]:
        def kept(results: Results) -> None:
            for metric in wanted:
                sampled = results.above_floor(metric)
                found = interval([sampled] if sampled is not None else [])
                if found is not None:
                    intervals[MetricName(metric.base, metric.of_class, domain).whole] = found
            if keep is not None:
                keep(domain, results)

        return engine.evaluate(model, config, part, keep=kept)

    metrics = {domain: metrics_in(domain, part) for domain, part in test_parts(engine).items()}
    test = metrics.pop(None, {})
    domains = {name: found for name, found in metrics.items() if name is not None}
    shares = scored_robustness(engine.workload, test, domains, engine.floors)
    return Scores(test, domains, shares, intervals)


def sampled_metrics(workload: Workload) -> list[MetricName]:
    """The metrics whose intervals are kept: the main one, and the objective's, without its domain."""
    if not workload.definitions.with_floors:
        return []
    asked, main = workload.metric, MetricName(workload.task.facts.main_metric)
    lower = asked.base in workload.task.facts.lower_is_better
    if asked.base == ROBUSTNESS or lower or asked.name == main.name:
        return [main]
    return [main, MetricName(asked.base, asked.of_class)]


def test_parts(engine: Engine) -> dict[str | None, PreparedSplit]:
    """The test images by domain; the key of the data's own domain is None, and it comes first."""
    parts = {None: engine.data.splits[Split.TEST]} | {
        name: domain[Split.TEST] for name, domain in engine.domains.items()
    }
    return {name: part for name, part in parts.items() if len(part)}


def score_baseline(engine: Engine) -> Scores | None:
    """Score the pretrained baseline; None if its head is new and so its metrics are meaningless."""
    if engine.task.fresh_head:
        return None
    model, config = engine.baseline_model()
    return score_model(engine, model, config)


def chosen_thresholds(trained: TrainedModel, validation: PreparedSplit) -> Thresholds | None:
    """The score thresholds with the highest F1 on validation images; None for a task without boxes.

    They are chosen there because test images must not decide what is then measured on them.
    """
    if not validation.has_boxes or not len(validation):
        return None
    held: list[Results] = []
    evaluation_of(trained, validation, keep=held.append)
    return held[0].thresholds() if held else None


def evaluation_of(
    trained: TrainedModel, split: PreparedSplit, *, batch_size: int = 32, keep: Keep | None = None
) -> dict[str, float]:
    """Metrics of a trained model on a split that has the model's classes, in the model's order.

    keep: called with the results of each image.
    """
    return metrics_of(
        trained.task,
        trained.model,
        split,
        trained.config,
        device=trained.device,
        batch_size=batch_size,
        keep=keep,
    )
