"""The two sides of a comparison: what differs, and whether their values can be compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from analysis.query.floors import COLLAPSED, collapsed_caption
from analysis.query.same_images import Images
from analysis.query.sweep import Standing, Sweep, Trial
from analysis.ranking.best import finished_first
from analysis.statistics.bootstrap import (
    ImageDifference,
    compare_over_images,
    read_image_results,
)
from analysis.statistics.paired import StatisticsError
from analysis.tables import format_budget
from trainables.errors import AdaptertuneError, DataError
from trainables.specs.workload import MetricName
from trainables.wording import plural
from tuning.experiment.differences import KeyDifference, find_differences
from tuning.ledger.records import PreparedRecord, ScoredRecord


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

    @property
    def curve(self) -> dict[float, float]:
        """The objective on validation images, by epoch."""
        metric = self.sweep.objective.metric
        found = ((report.epoch, report.metrics.get(metric)) for report in self.trial.reports)
        return {epoch: value for epoch, value in found if value is not None}


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

    @property
    def labels(self) -> tuple[str, str]:
        """The names of both sides, told apart."""
        one, other = self.one.label, self.other.label
        return (one, other) if one != other else (f"{one} (first)", f"{other} (second)")


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
    if (meant := other_definition(one, other)) is not None:
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


def other_definition(one: Side, other: Side) -> str | None:
    """How the definitions of the compared metric differ, in words; None if they do not."""
    ours, theirs = (side.sweep.experiment.workload for side in (one, other))
    main = ours.task.facts.main_metric
    return ours.definitions.differs(ours.objective.metric, theirs.definitions, main=main)


def _over_images(one: Side, other: Side) -> tuple[ImageDifference | None, str]:
    metric = one.sweep.objective.metric
    if other.sweep.objective.metric != metric:
        return None, "their objectives are different metrics"
    if (why := other_definition(one, other)) is not None:
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
