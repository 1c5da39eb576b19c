"""What a trained model is worth on test images: in its own domain, and under each shift."""

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
    """Figures on test images.

    test: in the data's own domain; empty where it has no test images.  domains: by domain.
    robustness: of each domain, its main figure as a share of the one in `test`; left out where that is 0.
    latency_ms: see `trainables.inference.latency`; None where it was not measured.
    """

    test: dict[str, float]
    domains: dict[str, dict[str, float]]
    robustness: dict[str, float]
    latency_ms: float | None = None

    @classmethod
    def of(cls, task: Task, test: dict[str, float], domains: Mapping[str, dict[str, float]]) -> Scores:
        """With the robustness worked out."""
        return cls(test, dict(domains), robustness(task, test, domains))


def score(
    engine: Engine,
    model: nn.Module,
    config: TrialConfig,
    keep: Callable[[str | None, PerImage], None] | None = None,
) -> Scores:
    """Figures of `model` on the test images and in each of `engine.domains`.

    keep: is given each domain (None: the data's own) and what the model did on its images.
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
    """The test images there are: by domain, None for the data's own, which come first."""
    parts = {None: engine.data.splits[Split.TEST]} | {
        name: domain[Split.TEST] for name, domain in engine.domains.items()
    }
    return {name: part for name, part in parts.items() if len(part)}


def score_untouched(engine: Engine) -> Scores | None:
    """As `score`, of the model as it came; None where its head is fresh, so says nothing."""
    if engine.task.fresh_head:
        return None
    model, config = engine.untouched_model()
    return score(engine, model, config)


def evaluation_of(trained: TrainedModel, split: PreparedSplit, *, batch_size: int = 32) -> dict[str, float]:
    """Figures of a trained model on a split of prepared data whose classes are the model's, in its order."""
    return metrics_of(
        trained.task, trained.model, split, trained.config, device=trained.device, batch_size=batch_size
    )
