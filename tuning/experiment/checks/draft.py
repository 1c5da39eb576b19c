"""A draft of an experiment, while its parts are checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pydantic import JsonValue

from trainables.specs.adapters import Adapter
from trainables.specs.data import DataSpec
from trainables.specs.workload import ModelSpec, ObjectiveSpec, Task
from tuning.experiment.space import ADAPTER, Space

if TYPE_CHECKING:
    from tuning.experiment.sections.objectives import BoundSpec, FurtherObjective
    from tuning.experiment.sections.resources import ResourceSpec
    from tuning.experiment.sections.scheduler import SchedulerSpec
    from tuning.experiment.sections.search import SearchSpec


@dataclass
class Draft:
    """The parts of an experiment that are valid by themselves; an invalid part is None or left out."""

    name: str | None = None
    task: Task | None = None
    model: ModelSpec | None = None
    data: DataSpec | None = None
    objective: ObjectiveSpec | None = None
    further: tuple[FurtherObjective, ...] = ()
    constraints: dict[str, BoundSpec] = field(default_factory=dict)
    search: SearchSpec | None = None
    scheduler: SchedulerSpec | None = None
    resources: ResourceSpec | None = None
    trial: dict[str, JsonValue] = field(default_factory=dict)
    """Fixed settings by dotted name."""
    invalid: frozenset[str] = frozenset()
    """Fixed settings with an invalid value, which is unknown and not the default."""
    space: Space = field(default_factory=Space)
    written: frozenset[str] = frozenset()
    """Every parameter of the file, including invalid ones."""
    first: list[dict[str, JsonValue]] = field(default_factory=list)
    """`search.first` by dotted names."""
    touched: frozenset[str] = frozenset()
    """Settings that an override named."""

    def fixed_value(self, name: str) -> JsonValue:
        """The value of a setting that is not searched: from `trial`, else its default."""
        if name in self.trial:
            return self.trial[name]
        return Adapter.LORA.value if name == ADAPTER else None

    def possible_values(self, name: str) -> list[JsonValue] | None:
        """The values that a parameter or fixed setting can have; None if they cannot be listed."""
        if name not in self.written:
            return None if name in self.invalid else [self.fixed_value(name)]
        domains = self.space.root.get(name, ())
        if not domains or any(d.size is None or d.size > 10_000 for d in domains):
            return None
        return list(dict.fromkeys(d.at(i) for d in domains for i in range(d.size or 0) if _scalar(d.at(i))))

    @property
    def most_epochs(self) -> float | None:
        """The most epochs that a trial runs; None if the setting is invalid."""
        values: list[JsonValue] = []
        if "epochs" in self.written:
            for domain in self.space.root.get("epochs", ()):
                values += domain.choice if domain.choice is not None else [domain.highest]
        elif "epochs" not in self.invalid:
            values = [self.trial.get("epochs", 10)]
        numbers = [v for v in values if isinstance(v, int | float)]
        return max(numbers) if numbers else None


def is_inside(name: str, section: str) -> bool:
    """Whether a setting, by dotted name, is inside a section."""
    return name.startswith(section + ".")


def join_or(values: list[JsonValue]) -> str:
    """The values of a setting as text: `lora or loha`."""
    return " or ".join(str(value) for value in values)


def _scalar(value: JsonValue) -> bool:
    return not isinstance(value, list | dict)
