"""The metrics of a trained model on test images: in its own domain, and in each shifted domain."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from torch import nn

from trainables.data.domains import robustness
from trainables.data.prepared import PreparedSplit
from trainables.inference.trained_model import TrainedModel
from trainables.metrics.per_image import PerImage
from trainables.specs.data import Split
from trainables.specs.trial import TrialConfig
from trainables.specs.workload import Task
from trainables.training.engine import Engine
from trainables.training.evaluation import metrics_of


@dataclass(frozen=True)
class Scores:
    """Metrics on test images.

    test: in the data's own domain; empty if it has no test images.  domains: by domain.
    robustness: each domain's main metric divided by the one in `test`; left out if the latter is 0.
    """

    test: dict[str, float]
    domains: dict[str, dict[str, float]]
    robustness: dict[str, float]

    @classmethod
    def of(cls, task: Task, test: dict[str, float], domains: Mapping[str, dict[str, float]]) -> Scores:
        """The scores, with robustness computed from the metrics."""
        return cls(test, dict(domains), robustness(task, test, domains))


def score_model(
    engine: Engine,
    model: nn.Module,
    config: TrialConfig,
    keep: Callable[[str | None, PerImage], None] | None = None,
) -> Scores:
    """Metrics of `model` on the test images and in each of `engine.domains`.

    keep: called with each domain (None: the data's own) and the results on its images.
    """
    figures = {
        domain: engine.evaluate(model, config, part, keep=keep and partial(keep, domain))
        for domain, part in test_parts(engine).items()
    }
    test = figures.pop(None, {})
    return Scores.of(
        engine.workload.task, test, {name: found for name, found in figures.items() if name is not None}
    )


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


def evaluation_of(trained: TrainedModel, split: PreparedSplit, *, batch_size: int = 32) -> dict[str, float]:
    """Metrics of a trained model on a split that has the model's classes, in the model's order."""
    return metrics_of(
        trained.task, trained.model, split, trained.config, device=trained.device, batch_size=batch_size
    )
