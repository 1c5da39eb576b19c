"""The comparison of two experiments or two trials: what differs, and their results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from analysis.query.floors import COLLAPSED, Part, collapsed_caption
from analysis.query.same_images import Images
from analysis.query.sweep import Standing, Sweep, Trial
from analysis.ranking.best import finished_first
from analysis.ranking.scored_metrics import scored_json, scored_value
from analysis.statistics.bootstrap import (
    ImageDifference,
    compare_over_images,
    image_difference_json,
    read_image_results,
)
from analysis.statistics.paired import StatisticsError
from analysis.tables import Table, format_budget, format_count, format_metric
from trainables.errors import AdaptertuneError, DataError
from trainables.specs.definition_words import definitions_in_words
from trainables.specs.workload import Direction, MetricName
from trainables.wording import plural
from tuning.experiment.differences import KeyDifference, find_differences
from tuning.formatting import format_setting
from tuning.ledger.records import PreparedRecord, ScoredRecord

POINTS = 20
"""Maximum number of epochs in the table of curves."""


class CompareError(AdaptertuneError):
    """An experiment or a trial that cannot be compared."""


@dataclass(frozen=True)
class Side:
    """One side of the comparison: a trial, or an experiment with its best trial."""

    label: str
    """The name that the user gave."""
    folder: Path
    sweep: Sweep
    trial: Trial
    whole: bool
    """Whether the user named the experiment; `trial` is then its best one."""
    images: Images
    """Which images its values are from."""

    @property
    def standing(self) -> Standing | None:
        """Its value on validation images."""
        return self.trial.standing(self.sweep.objective)

    @property
    def score(self) -> ScoredRecord | None:
        """Its metrics on test images."""
        return self.sweep.scores.get(self.trial.number)

    @property
    def domains(self) -> Mapping[str, Mapping[str, float | None]]:
        """Its metrics on the test images of each domain."""
        return {} if self.score is None else self.score.domains

    @property
    def asked(self) -> MetricName:
        """The parts of its objective's metric."""
        return self.sweep.experiment.workload.metric


@dataclass(frozen=True)
class Sides:
    """Both sides and their differences."""

    one: Side
    other: Side
    file: tuple[KeyDifference, ...]
    """Keys in which the experiments differ; empty for two trials of one experiment."""
    settings: Mapping[str, tuple[JsonValue, JsonValue]]
    """Settings in which the trials differ, defaults filled in; None if one has no such setting."""
    caution: tuple[str, ...]
    """Reasons why the values are not directly comparable."""
    images: ImageDifference | None
    """Over the test images, if both have results by image."""
    no_images: str
    """Why `images` is None."""

    @property
    def metric(self) -> str:
        """The metric that is compared."""
        return self.one.sweep.objective.metric


def choose_side(
    label: str, folder: Path, sweep: Sweep, number: int | None, prepared: PreparedRecord | None
) -> Side:
    """A trial by its number; without one the best finished trial, or else the best of all.

    prepared: what is recorded of the experiment's data. Raises CompareError if there is no such trial.
    """
    images = Images.of(sweep, prepared)
    if number is not None:
        trial = next((t for t in sweep.trials if t.number == number), None)
        if trial is None:
            there = plural(len(sweep.trials), "trial")
            raise CompareError(f"{sweep.name} has no trial {number}; it has {there}, numbered from 0")
        return Side(label, folder, sweep, trial, False, images)
    chosen = next((trial for trial, _ in finished_first(sweep).ranked), None)
    if chosen is None:
        raise CompareError(
            f"{sweep.name} has no trial with a value to compare; name a trial as {sweep.name}:NUMBER,"
            f" see `adaptertune status {sweep.name}`"
        )
    return Side(label, folder, sweep, chosen, True, images)


def compare_sides(one: Side, other: Side) -> Sides:
    """Compare two sides."""
    found = (
        () if one.folder == other.folder else find_differences(one.sweep.experiment, other.sweep.experiment)
    )
    images, why = _over_images(one, other)
    return Sides(
        one,
        other,
        tuple(d for d in found if not d.key.startswith("ablation.")),
        dict(_settings(one.trial, other.trial)),
        tuple(_cautions(one, other)),
        images,
        why,
    )


def _settings(one: Trial, other: Trial) -> Iterator[tuple[str, tuple[JsonValue, JsonValue]]]:
    for name in dict.fromkeys([*one.config, *other.config]):
        a, b = one.config.get(name), other.config.get(name)
        if a != b:
            yield name, (a, b)


def _cautions(one: Side, other: Side) -> Iterator[str]:
    a, b = one.sweep.objective, other.sweep.objective
    if a != b:
        yield (
            f"The objectives differ: {a.metric} ({a.rule.value} report) and {b.metric} ({b.rule.value}"
            " report), so the values measure different things"
        )
    if why := one.images.other_data(other.images):
        yield f"The values may be from different images: {why}"
    for name in (name for name in one.domains if name in other.domains):
        if why := one.images.other_domain(other.images, name):
            yield f"The values in {name} may be from different images: {why}"
    if (meant := _other_definition(one, other)) is not None:
        yield f"The values measure different things, although their metric has one name: {meant}"
    lost = [side for side in (one, other) if side.standing is not None and side.standing.collapsed]
    for side in lost:
        yield f"{side.label} has {COLLAPSED}"
    if lost:
        yield collapsed_caption(lost[0].sweep.objective.metric)
    for each in (one, other):
        if not each.trial.finished:
            ran = format_budget(each.trial.ran, each.trial.epochs)
            yield (
                f"{each.label} is {each.trial.shown} after {ran} epochs, so its value is from a smaller"
                " budget than planned"
            )
    if one.trial.finished and other.trial.finished and one.trial.epochs != other.trial.epochs:
        yield f"The budgets differ: {one.trial.epochs:g} and {plural(other.trial.epochs, 'epoch')}"
    if one.whole or other.whole:
        yield (
            "An experiment is compared by its best trial, which was selected on validation images, so its"
            " validation value is optimistic; test values are not affected by that selection"
        )


def _other_definition(one: Side, other: Side) -> str | None:
    """How the definitions of the compared metric differ, in words; None if they do not."""
    ours, theirs = (side.sweep.experiment.workload for side in (one, other))
    main = ours.task.facts.main_metric
    return ours.definitions.differs(ours.objective.metric, theirs.definitions, main=main)


def _over_images(one: Side, other: Side) -> tuple[ImageDifference | None, str]:
    metric = one.sweep.objective.metric
    if other.sweep.objective.metric != metric:
        return None, "their objectives are different metrics"
    if (why := _other_definition(one, other)) is not None:
        return None, why
    if (one.folder, one.trial.number) == (other.folder, other.trial.number):
        return None, "both are the same trial"
    asked = one.asked
    if why := _other_images(one, other, asked.domain):
        return None, why
    try:
        both = [read_image_results(each.folder, each.trial.number, asked.domain) for each in (one, other)]
        direction = one.sweep.objective.direction
        return compare_over_images(both[:1], both[1:], asked.name, direction=direction), ""
    except (DataError, StatisticsError) as error:
        return None, str(error)


def _other_images(one: Side, other: Side, domain: str | None) -> str:
    """Why test images of the same names may differ; empty if nothing indicates it."""
    if why := one.images.other_data(other.images):
        return (
            f"{why}, so images of the same name may differ; compare experiments with the same data and"
            " image size"
        )
    return "" if domain is None else one.images.other_domain(other.images, domain)


# --- tables -----------------------------------------------------------------------------------


def compare_tables(sides: Sides) -> tuple[Table, ...]:
    """Results and cost, differing settings, and the curves at equal epochs."""
    tables = [_results(sides)]
    if sides.file and (sides.one.whole or sides.other.whole):
        rows = tuple((d.key, d.was, d.now) for d in sides.file)
        title = "Keys in which the experiment files differ"
        tables.append(Table(title, ("key", *_labels(sides)), rows))
    if sides.settings:
        rows = tuple((name, _shown(a), _shown(b)) for name, (a, b) in sides.settings.items())
        title = f"Settings in which the trials differ ({_trial(sides.one)} and {_trial(sides.other)})"
        tables.append(Table(title, ("setting", *_labels(sides)), rows))
    curves = _curves(sides)
    if curves.rows:
        tables.append(curves)
    return tuple(tables)


def _labels(sides: Sides) -> tuple[str, str]:
    one, other = sides.one.label, sides.other.label
    return (one, other) if one != other else (f"{one} (first)", f"{other} (second)")


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
    domains = dict.fromkeys(name for s in pair for name in s.domains)
    for name in domains:
        rows.append((f"{shown} in {name}", *(format_metric(_test(s, name)) for s in pair)))
        rows += _floors(pair, shown, Part.TEST, name)
    rows += [
        ("trainable parameters", *(format_count(s.trial.trainable) for s in pair)),
        ("seconds", *(f"{s.trial.seconds:.1f}" for s in pair)),
        ("peak memory, MB", *(_peak(s.trial) for s in pair)),
    ]
    return Table(
        f"{sides.one.label} compared with {sides.other.label}",
        ("", *_labels(sides)),
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
    curves = [_curve(s) for s in (sides.one, sides.other)]
    epochs = sorted(curves[0].keys() & curves[1].keys())
    if len(epochs) > POINTS:
        epochs = [epochs[round(i * (len(epochs) - 1) / (POINTS - 1))] for i in range(POINTS)]
    direction = sides.one.sweep.objective.direction
    same = sides.one.sweep.objective.metric == sides.other.sweep.objective.metric
    same = same and _other_definition(sides.one, sides.other) is None
    rows = []
    for epoch in epochs if same else ():
        a, b = curves[0][epoch], curves[1][epoch]
        rows.append((f"{epoch:g}", format_metric(a), format_metric(b), f"{a - b:+.4f}".replace("-", "−")))
    way = "higher" if direction is Direction.MAXIMIZE else "lower"
    title = f"{sides.metric} on validation images at equal epochs"
    columns = ("epoch", *_labels(sides), "difference")
    return Table(title, columns, tuple(rows), f"{way} is better", numeric=(0, 1, 2, 3))


def _curve(side: Side) -> dict[float, float]:
    metric = side.sweep.objective.metric
    found = ((report.epoch, report.metrics.get(metric)) for report in side.trial.reports)
    return {epoch: value for epoch, value in found if value is not None}


def _shown(value: JsonValue) -> str:
    return "–" if value is None else format_setting(value)


def compare_sentences(sides: Sides) -> tuple[str, ...]:
    """The result of the comparison over test images, and its limits."""
    labels = _labels(sides)
    if sides.images is None:
        return (f"Not compared over test images: {sides.no_images}.",)
    return (
        f"Over test images: {sides.images.sentence_for(*labels)}.",
        "Each side is one trained model, so the variance over seeds is not included;"
        " `adaptertune ablate` repeats runs over seeds.",
    )


# --- for programs -----------------------------------------------------------------------------


def compare_json(sides: Sides) -> dict[str, JsonValue]:
    """The whole comparison for JSON."""
    images = sides.images
    return {
        "a": _side_json(sides.one),
        "b": _side_json(sides.other),
        "experiments_differ": [{"key": d.key, "a": d.was, "b": d.now} for d in sides.file],
        "settings_differ": {name: {"a": a, "b": b} for name, (a, b) in sides.settings.items()},
        "caution": list(sides.caution),
        "over_test_images": None if images is None else image_difference_json(images),
        "words": list(compare_sentences(sides)),
    }


def _side_json(side: Side) -> dict[str, JsonValue]:
    standing, trial = side.standing, side.trial
    return {
        "experiment": side.sweep.name,
        "trial": trial.number,
        "outcome": trial.shown,
        "metric": side.sweep.objective.metric,
        "definitions": dict(
            definitions_in_words(side.sweep.experiment.workload.definitions, side.sweep.experiment.task)
        ),
        "validation": standing.value if standing else None,
        "floor": side.sweep.floors.at(side.sweep.objective.metric),
        "collapsed": standing.collapsed if standing else None,
        "epoch": standing.epoch if standing else None,
        "test": scored_json(side.score) if side.score is not None else None,
        "test_floor": side.sweep.floors.at(side.sweep.objective.metric, Part.TEST),
        "ran_epochs": trial.ran,
        "of_epochs": trial.epochs,
        "parameters": dict(trial.parameters),
        "seconds": trial.seconds,
        "config": dict(trial.config),
        "curve": [{"epoch": epoch, "value": value} for epoch, value in _curve(side).items()],
    }
