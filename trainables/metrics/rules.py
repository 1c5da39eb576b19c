"""How the metrics of an experiment are computed: its definitions, and its background class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from trainables.specs.data import background_among
from trainables.specs.definitions import Definitions
from trainables.specs.workload import Workload


@dataclass(frozen=True)
class MetricRules:
    """background: the class that means leave out from definition 2 on; None if the data have none."""

    definitions: Definitions = field(default_factory=Definitions)
    background: str | None = None

    @classmethod
    def of(cls, workload: Workload, classes: Sequence[str]) -> MetricRules:
        """The rules of a workload; classes: those of its data."""
        return cls(workload.definitions, background_among(classes, workload.data.background))

    def foreground(self, classes: Sequence[str]) -> tuple[int, ...]:
        """The indices of the foreground classes: all if there is no background, or nothing else."""
        found = tuple(i for i, name in enumerate(classes) if name != self.background)
        return found or tuple(range(len(classes)))
