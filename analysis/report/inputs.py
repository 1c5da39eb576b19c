"""The inputs of a report: the record of an experiment, ablations of it, and the error of its values."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from analysis.ablation.result import AblationResult, result_of
from analysis.query.floors import Part, collapsed_caption, marked
from analysis.query.sweep import Standing, Sweep, Trial, spread
from analysis.ranking.best import Ranking, finished_first
from analysis.statistics.bootstrap import (
    CURVES,
    FEWEST,
    curve_count,
    interval_over_images,
    read_image_results,
)
from analysis.statistics.paired import Interval
from trainables.errors import AdaptertuneError
from trainables.metrics.per_image import PerImage
from trainables.specs.workload import MetricName
from trainables.wording import plural
from tuning.experiment.sections.ablation import AblationStage
from tuning.ledger.history import History
from tuning.ledger.ledger import read_header, read_history
from tuning.ledger.records import ScoredRecord
from tuning.ledger.storage import list_experiments

UNKNOWN_PLACES = 3
"""Decimals of a value if its error is unknown."""
RESAMPLES = 1000


@dataclass(frozen=True)
class Material:
    """An experiment that was read from disk."""

    folder: Path
    history: History
    sweep: Sweep
    ablations: tuple[tuple[Path, AblationResult], ...] = ()
    """Results of the designed experiments that start from it, or its own result if it is one."""
    unread: tuple[str, ...] = ()
    """Designed experiments that could not be read, and why."""

    @classmethod
    def at(cls, folder: Path) -> Material:
        """Read the experiment in `folder`. Raises LedgerError if it has no usable record."""
        history = read_history(folder)
        sweep = Sweep.of(history)
        ablations, unread = _results_of_ablations(folder, sweep)
        return cls(folder, history, sweep, ablations, unread)

    @property
    def metric(self) -> str:
        """The objective's name."""
        return self.sweep.objective.metric

    @property
    def is_designed(self) -> bool:
        """Whether the experiment is itself a designed one, so that its trials are not a search."""
        return self.sweep.experiment.ablation is not None

    @property
    def is_retuning(self) -> bool:
        """Whether the experiment retuned the levels of an ablation, so that it compares nothing."""
        design = self.sweep.experiment.ablation
        return design is not None and design.stage is AblationStage.RETUNE

    @cached_property
    def ranking(self) -> Ranking:
        """The ranking of finished trials, or of stopped ones if no trial has finished."""
        return finished_first(self.sweep)

    @property
    def best(self) -> tuple[Trial, Standing] | None:
        """The first trial of the ranking."""
        return self.ranking.ranked[0] if self.ranking.ranked else None

    @property
    def best_score(self) -> ScoredRecord | None:
        """The test metrics of exactly the weights that the best trial is ranked by."""
        return None if self.best is None else self.ranking.score(*self.best)

    @cached_property
    def drawable(self) -> tuple[Trial, ...]:
        """Trials with a valid value, the ranked ones first."""
        ranked = [trial for trial, _ in self.ranking.ranked]
        known = {trial.number for trial in ranked}
        rest = [
            trial
            for trial in self.sweep.trials
            if trial.number not in known
            and trial.comparable
            and trial.standing(self.sweep.objective) is not None
        ]
        return (*ranked, *rest)

    @cached_property
    def searched(self) -> tuple[str, ...]:
        """Settings that the search varied: adapter and freezing first, then by the number of their trials."""
        names = self.sweep.varied()
        having = {name: sum(t.config.get(name) is not None for t in self.sweep.trials) for name in names}
        usual = [name for name in ("adapter", "freezing") if name in having]
        rest = sorted(
            (name for name in names if name not in usual), key=lambda name: (-having[name], names.index(name))
        )
        return (*usual, *rest)

    def images(self, split: str) -> int | None:
        """The number of images in a split; None if it is not recorded."""
        return self.history.prepared.counts.get(split) if self.history.prepared is not None else None

    def interval(self, trial: int, metric: str, domain: str | None = None) -> Interval | None:
        """The 95 % confidence interval over test images; None if results by image were not stored.

        An AP takes long to resample, so a report computes only as many of its intervals as it can afford.
        """
        if domain is None:  # the metric of an objective may name a domain
            asked = MetricName.of(metric, self.sweep.experiment.data.domains)
            metric, domain = asked.name, asked.domain
        key = (trial, metric, domain)
        if key not in self._intervals:
            try:
                self._intervals[key] = self._over_images(
                    read_image_results(self.folder, trial, domain), metric
                )
            except AdaptertuneError:
                self._intervals[key] = None
        return self._intervals[key]

    def _over_images(self, model: PerImage, metric: str) -> Interval | None:
        each = curve_count(model, metric)
        resamples = min(RESAMPLES, max(FEWEST, CURVES // max(1, each)))
        if self._spent["curves"] + resamples * each > 3 * CURVES:
            return None
        self._spent["curves"] += resamples * each
        return interval_over_images([model], metric, resamples=resamples)

    @cached_property
    def _spent(self) -> Counter[str]:
        return Counter()

    @cached_property
    def _intervals(self) -> dict[tuple[int, str, str | None], Interval | None]:
        return {}

    @cached_property
    def error(self) -> tuple[float, str] | None:
        """The width of the error of a single value, and what it is the width of; None if unknown."""
        if self.best is not None and self.best_score is not None:
            found = self.interval(self.best[0].number, self.metric)
            if found is not None:
                images = self.images("test")
                over = "the test images" if images is None else plural(images, "test image")
                return found.width, f"the 95 % CI over {over}"
        for _, result in self.ablations:
            spreads = [level.sd for level in result.comparison.levels if level.sd]
            if spreads:
                return 4 * max(spreads), f"the variation over seeds (± 2 sd) in {result.name}"
        return None

    @cached_property
    def places(self) -> int:
        """The number of decimals that a single value is shown with."""
        if self.error is None or not self.error[0] > 0:
            return UNKNOWN_PLACES
        return min(max(1 - math.floor(math.log10(self.error[0])), 1), 5)

    def rounded(self, value: float | None) -> str:
        """A value with as many decimals as its error allows."""
        return "–" if value is None else f"{value:.{self.places}f}".replace("-", "−")

    def value_of(self, standing: Standing) -> str:
        """A trial's value, marked if the trial has collapsed."""
        return marked(self.rounded(standing.value), is_collapsed=standing.collapsed)

    def worth(self, *parts: Part, standings: Sequence[Standing] = ()) -> str:
        """The end of a caption: the floor on `parts`, by default validation images; the meaning of marks."""
        said = [self.sweep.floors.caption(self.metric, *(parts or (Part.VALIDATION,)))]
        said += [collapsed_caption(self.metric)] if any(s.collapsed for s in standings) else []
        return "".join(f". {text}" for text in said if text)

    def rounded_interval(self, interval: Interval | None) -> str:
        """An interval with as many decimals: `0.61 to 0.68`."""
        return "–" if interval is None else f"{self.rounded(interval.low)} to {self.rounded(interval.high)}"


def sample_trials(trials: Sequence[Trial], most: int) -> tuple[Trial, ...]:
    """At most `most` trials: the first half from the start, the others evenly spread over the rest."""
    if len(trials) <= most:
        return tuple(trials)
    first = trials[: most // 2]
    return (*first, *spread(trials[most // 2 :], most - len(first)))


def _results_of_ablations(
    folder: Path, sweep: Sweep
) -> tuple[tuple[tuple[Path, AblationResult], ...], tuple[str, ...]]:
    found: list[tuple[Path, AblationResult]] = []
    unread = []
    if sweep.experiment.ablation is not None:
        if sweep.experiment.ablation.stage.compares and sweep.trials:
            found.append((folder, result_of(sweep)))
        return tuple(found), ()
    for ablation in _ablations_of(sweep.name, folder):
        try:
            result = result_of(Sweep.at(ablation))
        except AdaptertuneError as error:
            unread.append(f"{ablation.name}: {error}")
            continue
        if result.missing < len(result.runs):
            found.append((ablation, result))
        else:
            unread.append(f"{ablation.name}: no run has ended yet")
    return tuple(found), tuple(unread)


def _ablations_of(name: str, folder: Path) -> Iterator[Path]:
    """Designed experiments in the same storage that start from it."""
    for other in list_experiments(folder.absolute().parent):
        try:
            design = read_header(other).experiment.get("ablation")
        except AdaptertuneError:
            continue  # an unreadable record of another experiment is not an error of this one
        if isinstance(design, Mapping) and design.get("of") == name and design.get("stage") != "retune":
            yield other
