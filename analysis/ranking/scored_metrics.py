"""A model's metrics on test images, one at a time and for programs."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import JsonValue

from trainables.specs.workload import ROBUSTNESS, MetricName
from tuning.ledger.records import ScoredRecord


def scored_value(score: ScoredRecord, metric: str) -> float | None:
    """A metric on test images: `dice`, `dice/cat@noisy`, `robustness@noisy`, `robustness`."""
    asked = MetricName.of(metric, score.domains)
    if asked.base == ROBUSTNESS:
        return _robustness(score.robustness, asked.domain)
    metrics = score.metrics if asked.domain is None else score.domains.get(asked.domain, {})
    return metrics.get(asked.name)


def _robustness(shares: Mapping[str, float | None], domain: str | None) -> float | None:
    if domain is not None:
        return shares.get(domain)
    known = [share for share in shares.values() if share is not None]
    return sum(known) / len(known) if known else None


def scored_json(score: ScoredRecord) -> dict[str, JsonValue]:
    """Everything that a score holds, for programs."""
    return {
        "metrics": dict(score.metrics),
        "domains": {name: dict(metrics) for name, metrics in score.domains.items()},
        "robustness": dict(score.robustness),
        "above_floor": {name: list(interval) for name, interval in score.above_floor.items()},
        "latency_ms": score.latency_ms,
        "latency_low_ms": score.latency_low_ms,
        "latency_high_ms": score.latency_high_ms,
    }
