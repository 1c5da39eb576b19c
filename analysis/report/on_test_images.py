"""Sections on the values on test images: in domain, under shift, and by class."""

from __future__ import annotations

from collections.abc import Mapping

from analysis.errors import NothingToRankError
from analysis.ranking.domains import TELLING, Line, cut_short, scored_lines
from analysis.report.document import Absent, Block, Figure, Section
from analysis.report.inputs import Material
from analysis.report.phrases import with_full_stop
from analysis.report.plots import Dots, Mark, Series
from analysis.tables import Table
from trainables.specs.adapters import TRAINS_BACKBONE
from tuning.ranking.order import best_first
from tuning.ranking.policy import ANY_BUDGET

LINES = 6
"""Maximum number of models in the figure of domains, and of models with intervals."""
CLASSES = 40
"""Maximum number of classes; of more, the best and the worst are shown."""
WITH_INTERVALS = 20
"""Maximum number of classes for which intervals are computed."""
_BARS = "Bars: 95 % confidence intervals over test images"


# --- test images ------------------------------------------------------------------------------


def domains_section(m: Material) -> Section:
    """The values on test images in domain and under each shift."""
    title = "In domain and shifted"
    main = m.sweep.experiment.task.facts.main_metric
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
                f" {_BARS}; they do not include the variance over seeds."
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


def _series(m: Material, line: Line, metric: str, parts: list[str | None]) -> Series:
    marks = tuple(_mark(m, line, metric, part) for part in parts)
    moves = line.trial is not None and line.trial.freezing in TRAINS_BACKBONE
    return Series(_line_name(line), marks, "" if line.trial is None else line.adapter, moves)


def _line_name(line: Line) -> str:
    return (
        line.adapter if line.trial is None else f"{line.adapter}, {line.freezing} (trial {line.trial.number})"
    )


def _value(line: Line, metric: str, part: str | None) -> float | None:
    return line.score.metrics.get(metric) if part is None else line.score.domains.get(part, {}).get(metric)


def _mark(m: Material, line: Line, metric: str, part: str | None) -> Mark | None:
    value = _value(line, metric, part)
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
        own = line.score.metrics.get(main)
        interval = intervals[place]
        shifted = []
        for name in names:
            value, share = _value(line, main, name), line.score.robustness.get(name)
            share = None if own is None or own < TELLING else share
            shifted.append(m.rounded(value) + ("" if share is None or value is None else f" ({share:.2f})"))
        rows.append(
            (
                line.adapter,
                line.freezing,
                "" if line.trial is None else str(line.trial.number),
                "" if line.standing is None else m.rounded(line.standing.value),
                *((m.rounded(own),) if inside else ()),
                *((m.rounded_interval(interval),) if bars else ()),
                *shifted,
            )
        )
    columns = (
        "adapter", "freezing", "trial", f"validation {m.metric}",
        *(("in domain",) if inside else ()), *(("95 % CI",) if bars else ()), *names,
    )  # fmt: skip
    caption = f"{main} on test images; trials were selected on validation images only"
    caption += cut_short(lines)
    if names:
        caption += f". In brackets: robustness, shifted ÷ in domain, if in domain is at least {TELLING}"
    return Table(
        f"{main} on test images", columns, tuple(rows), caption, numeric=tuple(range(2, len(columns)))
    )


# --- by class ---------------------------------------------------------------------------------


def classes_section(m: Material) -> Section:
    """The best trial's values by class."""
    title = "By class"
    if m.best is None:
        return Section(
            "classes", title, (Absent("No trial can be ranked, so no trial has values by class."),)
        )
    trial, standing = m.best
    main = m.sweep.experiment.task.facts.main_metric
    prefix = f"{main}/"
    score = m.best_score
    tested = score is not None and any(name.startswith(prefix) for name in score.metrics)
    figures: Mapping[str, float | None] = score.metrics if tested and score is not None else standing.metrics
    names = [
        name.removeprefix(prefix)
        for name, value in figures.items()
        if name.startswith(prefix) and value is not None
    ]
    if not names:
        return Section("classes", title, (Absent(f"Trial {trial.number} has no values by class."),))
    on = "test" if tested else "validation"
    untouched = m.sweep.scores.get(None) if tested else None
    before: Mapping[str, float | None] = (
        untouched.metrics if untouched is not None else {} if tested else m.sweep.baseline
    )
    names.sort(key=lambda name: -(figures.get(prefix + name) or 0.0))
    shown = names if len(names) <= CLASSES else [*names[: CLASSES // 2], *names[-CLASSES // 2 :]]
    marks, intervals = [], {}
    for name in shown:
        value = figures[prefix + name]
        assert value is not None
        if tested and len(names) <= WITH_INTERVALS:
            intervals[name] = m.interval(trial.number, prefix + name)
        marks.append(Mark.of(value, intervals.get(name)))
    series, headings = [Series(f"trial {trial.number}", tuple(marks))], ["in domain" if tested else on]
    if any(before.get(prefix + name) is not None for name in shown):
        old = tuple(None if (v := before.get(prefix + name)) is None else Mark(v) for name in shown)
        series.append(Series("pretrained baseline", old))
        headings.append("baseline")
    if tested and score is not None:
        for domain, found in list(score.domains.items())[:3]:
            moved = tuple(None if (v := found.get(prefix + name)) is None else Mark(v) for name in shown)
            if any(moved):
                series.append(Series(f"trial {trial.number}, {domain}", moved))
                headings.append(domain)
    left = (
        "" if len(shown) == len(names) else f" The best and the worst {CLASSES // 2} of {len(names)} classes."
    )
    bars = f" {_BARS}." if any(intervals.values()) else ""
    figure = Figure(
        "classes",
        f"{main} by class",
        f"{main} by class on {on} images of trial {trial.number}: "
        + ", ".join(f"{name} {m.rounded(figures[prefix + name])}" for name in shown),
        f"{main} of each class on {on} images, trial {trial.number}, selected on validation"
        f" images.{bars}{left}",
        Dots(f"{main}, {on} images", tuple(shown), tuple(series)),
    )
    rows = tuple(
        (
            name,
            *(m.rounded(None if (x := s.marks[i]) is None else x.value) for s in series),
            m.rounded_interval(intervals.get(name)),
        )
        for i, name in enumerate(shown)
    )
    columns = ("class", *headings, "95 % CI")
    if not any(intervals.values()):
        columns, rows = columns[:-1], tuple(row[:-1] for row in rows)
    table = Table(f"{main} by class, {on} images", columns, rows, "", numeric=tuple(range(1, len(columns))))
    return Section("classes", title, (figure, table))
