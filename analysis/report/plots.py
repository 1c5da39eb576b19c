"""What the figures of a report show, as values; `analysis.report.figures` draws them. No ray, no torch."""

from __future__ import annotations

from dataclasses import dataclass

from analysis.statistics.paired import Interval


@dataclass(frozen=True)
class Curve:
    """One trial: points are (epoch, value)."""

    trial: int
    adapter: str
    backbone: bool
    """Whether the backbone trains."""
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Curves:
    """Learning curves, the best one last."""

    metric: str
    curves: tuple[Curve, ...]
    best: int | None
    peak: tuple[float, float] | None = None
    """Epoch and value of the best one's best report."""
    rungs: tuple[float, ...] = ()
    """Epochs at which early stopping decided."""
    baseline: float | None = None


@dataclass(frozen=True)
class LevelMark:
    """A level's single runs, their mean and its interval."""

    name: str
    values: tuple[float, ...]
    mean: float | None
    interval: tuple[float, float] | None
    reference: bool = False
    trials: int | None = None
    """Shown beside the name: all of the level, where `values` may be some of them."""


@dataclass(frozen=True)
class DifferenceMark:
    """A paired difference and its interval. significant: whether the test finds one."""

    name: str
    mean: float
    interval: tuple[float, float] | None
    significant: bool


@dataclass(frozen=True)
class Ablation:
    """Levels of a designed experiment, and their differences to the reference."""

    metric: str
    factor: str
    levels: tuple[LevelMark, ...]
    differences: tuple[DifferenceMark, ...] = ()


@dataclass(frozen=True)
class Panel:
    """The levels of one setting."""

    setting: str
    levels: tuple[LevelMark, ...]


@dataclass(frozen=True)
class Marginals:
    """Value by level of several settings, one panel each, on one scale."""

    metric: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Bars:
    """Shares by setting. The flag: more than chance gives."""

    label: str
    bars: tuple[tuple[str, float, bool], ...]


@dataclass(frozen=True)
class Axis:
    """One setting of a parallel-coordinates plot. ticks: places from 0 to 1 and their names."""

    name: str
    ticks: tuple[tuple[float, str], ...]
    gradual: bool = True
    """Whether places between ticks mean anything."""


@dataclass(frozen=True)
class ParallelLine:
    """One trial: its place on each axis, None where it does not have that setting; on the value's last."""

    trial: int
    places: tuple[float | None, ...]


@dataclass(frozen=True)
class Parallel:
    """Trials through the axes of their settings, down to their value; the better ones last."""

    axes: tuple[Axis, ...]
    lines: tuple[ParallelLine, ...]
    best: int | None


@dataclass(frozen=True)
class CostPoint:
    """A trial: cost, value, and whether no other is both cheaper and better."""

    trial: int
    adapter: str
    x: float
    y: float
    front: bool


@dataclass(frozen=True)
class Costs:
    """Value against cost."""

    metric: str
    cost: str
    log: bool
    points: tuple[CostPoint, ...]


@dataclass(frozen=True)
class Mark:
    """A figure with its interval, if there is one."""

    value: float
    interval: tuple[float, float] | None = None

    @classmethod
    def of(cls, value: float, interval: Interval | None) -> Mark:
        """With the ends of an interval, if there is one."""
        return cls(value, interval_ends(interval))


@dataclass(frozen=True)
class Series:
    """One model's or one domain's figure on each row; None where it has none."""

    name: str
    marks: tuple[Mark | None, ...]
    adapter: str | None = None
    """Of a model, whose colour and marker it then has."""
    backbone: bool = False
    """Whether that model's backbone trained."""


@dataclass(frozen=True)
class Dots:
    """Rows, and on each the figures of some series."""

    metric: str
    rows: tuple[str, ...]
    series: tuple[Series, ...]


def interval_ends(interval: Interval | None) -> tuple[float, float] | None:
    """From where to where it is drawn."""
    return None if interval is None else (interval.low, interval.high)


Plot = Curves | Ablation | Marginals | Bars | Parallel | Costs | Dots
