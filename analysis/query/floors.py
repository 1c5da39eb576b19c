"""The floors of an experiment: what the best constant predictor reaches on its images, by metric."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from trainables.metrics.above_floor import metric_floor
from trainables.specs.definitions import BEFORE, Definitions
from trainables.specs.workload import MetricName, Workload
from tuning.ledger.records import PreparedRecord


class Part(StrEnum):
    """The images that a metric was measured on."""

    VALIDATION = "validation"
    TEST = "test"


@dataclass(frozen=True)
class Floors:
    """The recorded floors of an experiment; none in a record of an earlier version."""

    definitions: Definitions = BEFORE
    domains: tuple[str, ...] = ()
    recorded: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """By images, as in `tuning.ledger.records.PreparedRecord`, then by metric."""

    @classmethod
    def of(cls, workload: Workload, prepared: PreparedRecord | None) -> Floors:
        """The floors of an experiment whose data were prepared."""
        recorded = {} if prepared is None else prepared.floors
        return cls(workload.definitions, tuple(workload.data.domains), recorded)

    def at(self, metric: str, part: Part = Part.VALIDATION) -> float | None:
        """The floor of a metric such as `dice/cat@stain`; None if it has none or none is recorded."""
        asked = MetricName.of(metric, self.domains)
        if not self.definitions.with_floors:
            return None
        images = part.value if asked.domain is None else f"{part}@{asked.domain}"
        return metric_floor(asked, self.recorded.get(images, {}))

    def caption(self, metric: str, *parts: Part) -> str:
        """A sentence with the floor of a metric on these images; empty if it has none."""
        found = [(part, floor) for part in parts if (floor := self.at(metric, part)) is not None]
        if not found:
            return ""
        said = " and ".join(f"{floor:.4f} on {part} images" for part, floor in found)
        return f"Floor, what the best constant predictor reaches: {metric} {said}"


COLLAPSED = "collapsed"
"""The word for a trial that is no better than a constant predictor."""


def marked(text: str, *, is_collapsed: bool | None) -> str:
    """A value with the word, if the model that has it has collapsed: `0.4407 (collapsed)`."""
    return f"{text} ({COLLAPSED})" if is_collapsed else text


def collapsed_caption(metric: str) -> str:
    """What the word means, for a caption. metric: the one that decides it."""
    return (
        f"{COLLAPSED}: no better than a constant predictor, as the 95 % interval of {metric} minus the floor,"
        " over the same images, does not lie above 0"
    )
