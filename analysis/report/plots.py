"""The contents of a report's figures as values; `analysis.report.figures` draws them."""

from __future__ import annotations

from dataclasses import dataclass

from analysis.statistics.paired import Interval


@dataclass(frozen=True)
class Curve:
    """The learning curve of one trial: points are (epoch, value)."""

    trial: int
    adapter: str
    backbone: bool
    """Whether the backbone trains."""
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Curves:
    """Learning curves, that of the best trial last."""

    metric: str
    curves: tuple[Curve, ...]
    best: int | None
    peak: tuple[float, float] | None = None
    """Epoch and value of the best trial's best report."""
    rungs: tuple[float, ...] = ()
    """Epochs at which early stopping decided."""
    baseline: float | None = None
    """The value of the pretrained baseline."""
    floor: float | None = None
    """What the best constant predictor reaches."""


@dataclass(frozen=True)
class LevelMark:
    """The single runs of a level, their mean and its interval."""

    name: str
    values: tuple[float, ...]
    mean: float | None
    interval: tuple[float, float] | None
    reference: bool = False
    trials: int | None = None
    """The number of trials at the level, shown next to its name; `values` may be a sample of them."""


@dataclass(frozen=True)
class DifferenceMark:
    """A paired difference and its interval. significant: by the adjusted test."""

    name: str
    mean: float
    interval: tuple[float, float] | None
    significant: bool


@dataclass(frozen=True)
class Ablation:
    """Levels of a designed experiment, and their differences from the reference."""

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
    """The values by level of several settings, one panel per setting, on one scale."""

    metric: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Bars:
    """Shares by setting. The flag: whether it is significant."""

    label: str
    bars: tuple[tuple[str, float, bool], ...]


@dataclass(frozen=True)
class Axis:
    """One setting of a parallel-coordinates plot. ticks: positions from 0 to 1 and their labels."""

    name: str
    ticks: tuple[tuple[float, str], ...]
    gradual: bool = True
    """Whether positions between ticks have a meaning."""


@dataclass(frozen=True)
class ParallelLine:
    """One trial: its position on each axis, None if it has no such setting; the last is that of its value."""

    trial: int
    places: tuple[float | None, ...]


@dataclass(frozen=True)
class Parallel:
    """Trials as lines across the axes of their settings, down to their value; the better ones last."""

    axes: tuple[Axis, ...]
    lines: tuple[ParallelLine, ...]
    best: int | None


@dataclass(frozen=True)
class CostPoint:
    """A trial: its cost, its value, whether it is Pareto-optimal. range: of a cost measured repeatedly."""

    trial: int
    adapter: str
    x: float
    y: float
    front: bool
    range: tuple[float, float] | None = None


@dataclass(frozen=True)
class Costs:
    """Values against cost."""

    metric: str
    cost: str
    log: bool
    points: tuple[CostPoint, ...]
    line: bool = True
    """Whether the front is a staircase from the cheapest to the best, and drawn as one."""


@dataclass(frozen=True)
class Growth:
    """A share that grows step by step. points: (number of the step, share)."""

    steps: str
    name: str
    points: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Mark:
    """A value with its interval, if there is one."""

    value: float
    interval: tuple[float, float] | None = None

    @classmethod
    def of(cls, value: float, interval: Interval | None) -> Mark:
        """A mark with the ends of an interval, if there is one."""
        return cls(value, interval_ends(interval))


@dataclass(frozen=True)
class Series:
    """The values of one model or one domain on each row; None where there is no value."""

    name: str
    marks: tuple[Mark | None, ...]
    adapter: str | None = None
    """The adapter of a model, which sets colour and marker."""
    backbone: bool = False
    """Whether the backbone of the model was trained."""


@dataclass(frozen=True)
class Dots:
    """Rows with the values of several series on each."""

    metric: str
    rows: tuple[str, ...]
    series: tuple[Series, ...]


@dataclass(frozen=True)
class PrecisionRecall:
    """Precision at equally spaced recalls from 0 to 1, by class, and the mean of all classes."""

    curves: tuple[tuple[str, tuple[float, ...]], ...]
    mean: tuple[float, ...]


@dataclass(frozen=True)
class Confusion:
    """What is taken for what: the share of each true class (row) by predicted class (column)."""

    names: tuple[str, ...]
    shares: tuple[tuple[float, ...], ...]


def interval_ends(interval: Interval | None) -> tuple[float, float] | None:
    """The ends of an interval, as it is drawn."""
    return None if interval is None else (interval.low, interval.high)


Plot = Curves | Ablation | Marginals | Bars | Parallel | Costs | Growth | Dots | PrecisionRecall | Confusion
