"""The section on the values on test images, in domain and under shift."""

from __future__ import annotations

from analysis.errors import NothingToRankError
from analysis.query.floors import Part
from analysis.ranking.domains import (
    FLOOR,
    Line,
    cut_short,
    marks,
    scored_lines,
    shares,
    shown_metric,
    what_marks_mean,
)
from analysis.report.document import Absent, Block, Figure, Section
from analysis.report.inputs import Material
from analysis.report.plots import Dots, Mark, Series
from analysis.tables import Table
from trainables.specs.adapters import TRAINS_BACKBONE
from trainables.wording import with_full_stop
from tuning.ranking.order import best_first
from tuning.ranking.policy import ANY_BUDGET

LINES = 6
"""Maximum number of models in the figure of domains, and of models with intervals."""
BARS = "Bars: 95 % confidence intervals over test images"


def domains_section(m: Material) -> Section:
    """The values on test images in domain and under each shift."""
    title = "In domain and shifted"
    main = shown_metric(m.sweep)
    try:
        lines = scored_lines(m.sweep, main)
    except NothingToRankError as error:
        return Section("domains", title, (Absent(with_full_stop(str(error))),))
    names = [n for n in m.sweep.experiment.data.domains if any(n in line.score.domains for line in lines)]
    own = any(main in line.score.metrics for line in lines)
    lines = _by_validation(m, lines)
    held: list[Block] = []
    parts: list[str | None] = ([None] if own else []) + list(names)
    if not parts:
        return Section("domains", title, (Absent("Trials were scored, but no value was recorded."),))
    if not names:
        held.append(Absent("The experiment has no shifted domains; the values are for its own test images."))
    shown = lines[:LINES] + tuple(line for line in lines[LINES:] if line.trial is None)
    series = tuple(_series(m, line, main, parts) for line in shown)
    floors = tuple(_floor(m, main, part) for part in parts)
    if any(floor is not None for floor in floors):
        marks = tuple(None if floor is None else Mark(floor) for floor in floors)
        series = (*series, Series("floor (constant predictor)", marks))
    rows = tuple("in domain" if part is None else part for part in parts)
    drawn = [line for line in shown if line.trial is not None]
    held.append(
        Figure(
            "domains",
            f"{main} on test images by domain",
            f"{main} on test images: "
            + "; ".join(
                f"{s.name} "
                + ", ".join(f"{row} {m.rounded(x.value)}" for row, x in zip(rows, s.marks, strict=True) if x)
                for s in series
            ),
            f"{main} on test images, of the best trial on validation images ({m.metric}) of each adapter"
            f" and freezing mode; the first {len(drawn)} by validation value{cut_short(drawn)}. Hollow: the"
            " backbone was trained."
            + (
                f" {BARS}; they do not include the variance over seeds."
                if any(x and x.interval for s in series for x in s.marks)
                else ""
            ),
            Dots(f"{main}, test images", rows, series),
        )
    )
    held.append(_domain_table(m, lines, main, parts))
    return Section("domains", title, tuple(held))


def _by_validation(m: Material, lines: tuple[Line, ...]) -> tuple[Line, ...]:
    trials = [(line.trial.entry(line.standing), line) for line in lines if line.trial is not None]
    ranked = best_first(trials, lambda pair: pair[0], ANY_BUDGET, m.sweep.objective.direction)
    return (*(line for _, line in ranked), *(line for line in lines if line.trial is None))


def _floor(m: Material, metric: str, part: str | None) -> float | None:
    return m.sweep.floors.at(metric if part is None else f"{metric}@{part}", Part.TEST)


def _series(m: Material, line: Line, metric: str, parts: list[str | None]) -> Series:
    marks = tuple(_mark(m, line, metric, part) for part in parts)
    moves = line.trial is not None and line.trial.freezing in TRAINS_BACKBONE
    return Series(_line_name(line), marks, "" if line.trial is None else line.adapter, moves)


def _line_name(line: Line) -> str:
    return (
        line.adapter if line.trial is None else f"{line.adapter}, {line.freezing} (trial {line.trial.number})"
    )


def _mark(m: Material, line: Line, metric: str, part: str | None) -> Mark | None:
    value = line.value(metric, part)
    if value is None:
        return None
    interval = None if line.trial is None else m.interval(line.trial.number, metric, part)
    return Mark.of(value, interval)


def _domain_table(m: Material, lines: tuple[Line, ...], main: str, parts: list[str | None]) -> Table:
    inside = parts[0] is None
    names = [part for part in parts if part is not None]
    rows = []
    intervals = [
        m.interval(line.trial.number, main) if line.trial is not None and place < LINES else None
        for place, line in enumerate(lines)
    ]
    bars = inside and any(intervals)
    for place, line in enumerate(lines):
        interval = intervals[place]
        found = shares(m.sweep, line, main)
        own, *shifted = (
            m.rounded(line.value(main, part)) + marks(line, main, part, found) for part in (None, *names)
        )
        rows.append(
            (
                line.adapter,
                line.freezing,
                "" if line.trial is None else str(line.trial.number),
                "" if line.standing is None else m.value_of(line.standing),
                *((own,) if inside else ()),
                *((m.rounded_interval(interval),) if bars else ()),
                *shifted,
            )
        )
    floors = [_floor(m, main, part) for part in parts]
    if any(floor is not None for floor in floors):
        picked = m.rounded(m.sweep.floors.at(m.metric))
        cells = [m.rounded(floor) for floor in floors]
        if bars:
            cells.insert(1, "")
        rows.append((FLOOR, "", "", picked, *cells))
    columns = (
        "adapter", "freezing", "trial", f"validation {m.metric}",
        *(("in domain",) if inside else ()), *(("95 % CI",) if bars else ()), *names,
    )  # fmt: skip
    caption = f"{main} on test images; trials were selected on validation images only"
    caption += cut_short(lines)
    caption += what_marks_mean(m.sweep, lines, main, names)
    return Table(
        f"{main} on test images", columns, tuple(rows), caption, numeric=tuple(range(2, len(columns)))
    )
