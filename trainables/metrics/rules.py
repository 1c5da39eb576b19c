"""How the metrics of an experiment are computed: its definitions, and its background class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from trainables.specs.data import DataSpec
from trainables.specs.definitions import Definitions
from trainables.specs.workload import Workload

BACKGROUND = "background"
"""The class that is the background unless the data name another one."""


@dataclass(frozen=True)
class MetricRules:
    """background: the class that means leave out from definition 2 on; None if the data have none."""

    definitions: Definitions = field(default_factory=Definitions)
    background: str | None = None

    @classmethod
    def of(cls, workload: Workload, classes: Sequence[str]) -> MetricRules:
        """The rules of a workload; classes: those of its data."""
        return cls(workload.definitions, background_class(workload.data, classes))

    def foreground(self, classes: Sequence[str]) -> tuple[int, ...]:
        """The indices of the foreground classes: all if there is no background, or nothing else."""
        found = tuple(i for i, name in enumerate(classes) if name != self.background)
        return found or tuple(range(len(classes)))


def background_class(data: DataSpec, classes: Sequence[str]) -> str | None:
    """The background class: the one that `data.masks.background` names, or else a class `background`.

    Upper case and blanks at the ends do not matter. None if the data have no such class.
    """
    named = getattr(data.masks, "background", None) if data.masks is not None else None
    wanted = named or BACKGROUND
    if wanted in classes:
        return str(wanted)
    alike = [name for name in classes if name.strip().casefold() == wanted.strip().casefold()]
    return alike[0] if len(alike) == 1 else None
