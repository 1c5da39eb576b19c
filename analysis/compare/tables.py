"""The tables of a comparison: results and cost, differing settings, and the curves."""

from __future__ import annotations

from pydantic import JsonValue

from analysis.compare.sides import Side, Sides, other_definition
from analysis.query.floors import Part
from analysis.query.sweep import Trial
from analysis.ranking.scored_metrics import scored_value
from analysis.tables import Table, format_budget, format_count, format_metric, format_signed
from trainables.specs.workload import Direction
from tuning.formatting import format_setting

POINTS = 20
"""Maximum number of epochs in the table of curves."""


def compare_tables(sides: Sides) -> tuple[Table, ...]:
    """Results and cost, differing settings, and the curves at equal epochs."""
    tables = [_results(sides)]
    if sides.file and (sides.one.whole or sides.other.whole):
        rows = tuple((d.key, d.was, d.now) for d in sides.file)
        title = "Keys in which the experiment files differ"
        tables.append(Table(title, ("key", *sides.labels), rows))
    if sides.settings:
        rows = tuple((name, _shown(a), _shown(b)) for name, (a, b) in sides.settings.items())
        title = f"Settings in which the trials differ ({_trial(sides.one)} and {_trial(sides.other)})"
        tables.append(Table(title, ("setting", *sides.labels), rows))
    curves = _curves(sides)
    if curves.rows:
        tables.append(curves)
    return tuple(tables)


def _trial(side: Side) -> str:
    return f"{side.sweep.name}:{side.trial.number}"


def _results(sides: Sides) -> Table:
    pair = (sides.one, sides.other)
    metric = {s.sweep.objective.metric for s in pair}
    shown = metric.pop() if len(metric) == 1 else "objective"
    rows: list[tuple[str, ...]] = []
    if sides.one.whole or sides.other.whole:
        rows.append(("trials (finished)", *(_counts(s) for s in pair)))
        rows.append(
            (
                "training time of all trials, s",
                *(f"{sum(t.seconds for t in s.sweep.trials):.0f}" for s in pair),
            )
        )
    rows += [
        ("trial", *(str(s.trial.number) for s in pair)),
        ("outcome", *(s.trial.shown for s in pair)),
        ("epochs", *(format_budget(s.trial.ran, s.trial.epochs) for s in pair)),
        (
            f"{shown} on validation images",
            *(format_metric(s.standing.value if s.standing else None) for s in pair),
        ),
        ("at epoch", *(f"{s.standing.epoch:g}" if s.standing else "–" for s in pair)),
        *_floors(pair, shown, Part.VALIDATION),
        (f"{shown} on test images", *(format_metric(_test(s)) for s in pair)),
        *_floors(pair, shown, Part.TEST),
    ]
    bare = {s.asked.name for s in pair}  # `dice` for `dice@stain`
    shared = bare.pop() if len(bare) == 1 else "objective"
    domains = dict.fromkeys(name for s in pair for name in s.domains)
    for name in domains:
        rows.append((f"{shared} in {name}", *(format_metric(_test(s, name)) for s in pair)))
        rows += _floors(pair, shared, Part.TEST, name)
    rows += [
        ("trainable parameters", *(format_count(s.trial.trainable) for s in pair)),
        ("seconds", *(f"{s.trial.seconds:.1f}" for s in pair)),
        ("peak memory, MB", *(_peak(s.trial) for s in pair)),
    ]
    return Table(
        f"{sides.one.label} compared with {sides.other.label}",
        ("", *sides.labels),
        tuple(rows),
        ". ".join(sides.caution),
        numeric=(1, 2),
    )


def _floors(
    pair: tuple[Side, Side], shown: str, part: Part, domain: str | None = None
) -> list[tuple[str, ...]]:
    """A row with the floors of both sides; none if neither has one."""
    found = [
        side.sweep.floors.at(
            side.sweep.objective.metric if domain is None else f"{side.asked.name}@{domain}", part
        )
        for side in pair
    ]
    if all(floor is None for floor in found):
        return []
    where = f"on {part} images" if domain is None else f"in {domain}"
    return [(f"floor of {shown} {where}", *map(format_metric, found))]


def _counts(side: Side) -> str:
    return f"{len(side.sweep.trials)} ({sum(t.finished for t in side.sweep.trials)})"


def _test(side: Side, domain: str | None = None) -> float | None:
    if side.score is None:
        return None
    metric = side.sweep.objective.metric
    return scored_value(side.score, metric if domain is None else f"{side.asked.name}@{domain}")


def _peak(trial: Trial) -> str:
    return "–" if trial.peak_mb is None else f"{trial.peak_mb:.0f}"


def _curves(sides: Sides) -> Table:
    """The values of both at the same epochs."""
    curves = [s.curve for s in (sides.one, sides.other)]
    epochs = sorted(curves[0].keys() & curves[1].keys())
    if len(epochs) > POINTS:
        epochs = [epochs[round(i * (len(epochs) - 1) / (POINTS - 1))] for i in range(POINTS)]
    direction = sides.one.sweep.objective.direction
    same = sides.one.sweep.objective.metric == sides.other.sweep.objective.metric
    same = same and other_definition(sides.one, sides.other) is None
    rows = []
    for epoch in epochs if same else ():
        a, b = curves[0][epoch], curves[1][epoch]
        rows.append((f"{epoch:g}", format_metric(a), format_metric(b), format_signed(a - b, 4)))
    way = "higher" if direction is Direction.MAXIMIZE else "lower"
    title = f"{sides.metric} on validation images at equal epochs"
    columns = ("epoch", *sides.labels, "difference")
    return Table(title, columns, tuple(rows), f"{way} is better", numeric=(0, 1, 2, 3))


def _shown(value: JsonValue) -> str:
    return "–" if value is None else format_setting(value)
