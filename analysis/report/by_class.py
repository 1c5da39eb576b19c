"""The section on the best trial's values by class."""

from __future__ import annotations

from collections.abc import Mapping

from analysis.query.floors import Part
from analysis.ranking.domains import shown_metric
from analysis.report.document import Absent, Figure, Section
from analysis.report.inputs import Material
from analysis.report.on_test_images import BARS
from analysis.report.plots import Dots, Mark, Series
from analysis.tables import Table
from trainables.specs.workload import MetricName

CLASSES = 40
"""Maximum number of classes; of more, the best and the worst are shown."""
WITH_INTERVALS = 20
"""Maximum number of classes for which intervals are computed."""


def classes_section(m: Material) -> Section:
    """The best trial's values by class."""
    title = "By class"
    if m.best is None:
        return Section(
            "classes", title, (Absent("No trial can be ranked, so no trial has values by class."),)
        )
    trial, standing = m.best
    score = m.best_score
    main = class_metric(m, standing.metrics, {} if score is None else score.metrics)
    prefix = f"{main}/"
    tested = score is not None and any(name.startswith(prefix) for name in score.metrics)
    figures: Mapping[str, float | None] = score.metrics if tested and score is not None else standing.metrics
    names = [
        name.removeprefix(prefix)
        for name, value in figures.items()
        if name.startswith(prefix) and value is not None and (tested or not _in_domain(m, name))
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
    part = Part.TEST if tested else Part.VALIDATION
    floors = tuple(m.sweep.floors.at(prefix + name, part) for name in shown)
    if any(floor is not None for floor in floors):
        series.append(
            Series("floor (constant predictor)", tuple(None if v is None else Mark(v) for v in floors))
        )
        headings.append("floor")
    if tested and score is not None:
        for domain, found in list(score.domains.items())[:3]:
            moved = tuple(None if (v := found.get(prefix + name)) is None else Mark(v) for name in shown)
            if any(moved):
                series.append(Series(f"trial {trial.number}, {domain}", moved))
                headings.append(domain)
    left = (
        "" if len(shown) == len(names) else f" The best and the worst {CLASSES // 2} of {len(names)} classes."
    )
    bars = f" {BARS}." if any(intervals.values()) else ""
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


def _in_domain(m: Material, name: str) -> bool:
    """Whether a validation metric is of a shifted domain, as `dice/cat@noisy` of an objective under shift."""
    return MetricName.of(name, m.sweep.experiment.data.domains).domain is not None


def class_metric(
    m: Material, validated: Mapping[str, float | None], tested: Mapping[str, float | None]
) -> str:
    """The metric of the objective if it is recorded for all classes, otherwise the task's main one.

    `dice` for `dice_worst`, `map_50` for `map_50/cat@stained`. A report may hold a metric of the objective's
    class alone, which says nothing of the others.
    """
    facts = m.sweep.experiment.task.facts
    base = MetricName.of(shown_metric(m.sweep)).base.removesuffix("_worst").removesuffix("_with_background")
    known = (tested, validated) if base in facts.reported_by_class else (tested,)
    if any(name.startswith(f"{base}/") for metrics in known for name in metrics):
        return base
    return facts.main_metric
