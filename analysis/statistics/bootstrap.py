"""Bootstrap over test images: how a metric, or the difference of two models, depends on the choice of images.

Images are resampled in pairs: both models get the same ones (SciPy's bootstrap over the results by image
of `trainables.metrics.per_image`). The trained models are fixed, so the variance over seeds is not
included; that is `analysis.statistics.paired`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import JsonValue

from analysis.statistics.paired import CONFIDENCE, Array, Interval, StatisticsError, Verdict, rounded
from analysis.statistics.verdicts import interval_json
from trainables.metrics.per_image import AP_METRICS, BoxImages, PerImage, read_per_image
from trainables.run_folder import image_results
from trainables.specs.workload import Direction
from trainables.wording import plural
from tuning.ledger.storage import trial_folder

RESAMPLES = 2000
FEW = 20
"""Below this number of images the interval has a warning: it tends to be too narrow."""
DEFINED = 0.95
"""Share of the resamples in which the metric must be defined."""
AT_ONCE = 1_000_000
"""Weights held in memory at a time."""


CURVES = 300_000
"""Precision curves that resampling images may compute: about ten seconds. Three times as many at `FEWEST`."""
FEWEST = 400
"""Minimum number of resamples."""


@dataclass(frozen=True)
class ImageDifference:
    """The difference of two models, or of the means of two groups of models, on the same test images."""

    metric: str
    direction: Direction
    first: float
    second: float
    mean: float
    """first − second."""
    interval: Interval | None
    """Of the difference; None if the images do not give one."""
    images: int
    models: tuple[int, int]
    verdict: Verdict
    """Of the first against the second; a difference is significant if the interval excludes 0."""
    why: str = ""

    @property
    def sentence(self) -> str:
        """The result as a sentence about "the first" and "the second", without its full stop."""
        return self.sentence_for("the first", "the second")

    def sentence_for(self, first: str, second: str) -> str:
        """The result as a sentence with the names of both sides, without its full stop."""
        return _sentence(self, first, second)


def read_image_results(experiment: Path, trial: int, domain: str | None = None) -> PerImage:
    """Read the results of a scored trial by test image, or by image of a shifted domain.

    Raises DataError if none are stored (the trial is not scored, or was scored by an earlier version).
    """
    return read_per_image(image_results(trial_folder(experiment, trial), domain))


def curve_count(images: PerImage, metric: str) -> int:
    """The number of precision curves behind a value of an AP, one per class and IoU threshold; 0 for Dice."""
    if not isinstance(images, BoxImages):
        return 0
    base, _, label = metric.partition("/")
    places = AP_METRICS.get(base, slice(0, 0))
    return (places.stop - places.start) * (1 if label else len(images.classes))


def compare_over_images(
    first: Sequence[PerImage],
    second: Sequence[PerImage],
    metric: str,
    *,
    direction: Direction = Direction.MAXIMIZE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> ImageDifference:
    """Compare models by the paired bootstrap over images (95 %). Several models on a side are averaged.

    Raises StatisticsError if the models differ in images or classes, or if the metric cannot be
    computed from single images.
    """
    models = [*first, *second]
    _same(models, metric)
    if not first or not second:
        raise StatisticsError("two models are needed, one on each side")
    a, b = (float(np.mean([model.metric(metric) for model in side])) for side in (first, second))
    sides = np.array([1 / len(first)] * len(first) + [-1 / len(second)] * len(second))
    images = len(models[0].names)
    interval, why = _interval(models, sides, metric, resamples, seed)
    if math.isnan(a - b):
        verdict, why = Verdict.UNTESTED, f"{metric} is not defined on any test image"
    elif interval is None:
        verdict = Verdict.UNTESTED if why else Verdict.IDENTICAL
    elif interval.low <= 0 <= interval.high:
        verdict = Verdict.NOT_SHOWN
    else:
        verdict = Verdict.BETTER if direction.better(a, b) else Verdict.WORSE
    return ImageDifference(
        metric, direction, a, b, a - b, interval, images, (len(first), len(second)), verdict, why
    )


def interval_over_images(
    models: Sequence[PerImage], metric: str, *, resamples: int = RESAMPLES, seed: int = 0
) -> Interval | None:
    """The 95 % confidence interval of a metric (for several models: of their mean).

    None if the images do not give one. Raises StatisticsError as `compare_over_images`.
    """
    _same(models, metric)
    return _interval(models, np.full(len(models), 1 / len(models)), metric, resamples, seed)[0]


def _same(models: Sequence[PerImage], metric: str) -> None:
    if not models:
        raise StatisticsError("no results by image are given")
    base = models[0]
    for other in models[1:]:
        if other.names != base.names:
            raise StatisticsError(
                f"models must have been scored on the same test images, got {len(base.names)} and"
                f" {plural(len(other.names), 'image')}, of which"
                f" {len(set(base.names) & set(other.names))} are shared;"
                " compare models of the same data and split"
            )
        if other.classes != base.classes:
            raise StatisticsError(
                f"models must have the same classes, got {', '.join(base.classes)}"
                f" and {', '.join(other.classes)}"
            )
    if metric not in base.metrics:
        raise StatisticsError(
            f"'{metric}' cannot be computed from single images; available are {', '.join(base.metrics)}"
        )


def _interval(
    models: Sequence[PerImage], sides: Array, metric: str, resamples: int, seed: int
) -> tuple[Interval | None, str]:
    """The interval of the weighted sum of the models' metrics, or why there is none ('': it is constant)."""
    from scipy import stats

    images = len(models[0].names)
    if images < 2:
        return None, "one test image is not enough to resample"

    def statistic(places: Array, axis: int = -1) -> Array:
        """(R,) values for (R, m) image indices."""
        rows = np.atleast_2d(places)
        flat = (rows + images * np.arange(len(rows))[:, None]).ravel()
        weights = np.bincount(flat, minlength=len(rows) * images).reshape(len(rows), images)
        values = sum(
            side * model.resampled(metric, weights) for side, model in zip(sides, models, strict=True)
        )
        return np.asarray(values) if places.ndim > 1 else np.asarray(values)[0]

    level = _expanded(images)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # degenerate distributions are handled below
        result = stats.bootstrap(
            (np.arange(images),),
            statistic,
            vectorized=True,
            axis=-1,
            n_resamples=resamples,
            batch=max(1, AT_ONCE // images),
            confidence_level=level,
            method="percentile",
            rng=np.random.default_rng(seed),
        )
    drawn = result.bootstrap_distribution
    defined = drawn[~np.isnan(drawn)]
    if defined.size < DEFINED * drawn.size:
        return None, "the metric is defined on too few test images"
    if np.ptp(defined) < 1e-12:
        return None, ""
    low, high = result.confidence_interval
    if math.isnan(low) or math.isnan(high):
        low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high)), ""


def _expanded(images: int) -> float:
    """The level at which few images still give 95 % coverage (Hesterberg 2015, expanded percentile).

    BCa was tried and covers less: for pixel-weighted metrics a few large images determine its skewness.
    """
    from scipy import stats

    reach = stats.t.isf((1 - CONFIDENCE) / 2, images - 1) * math.sqrt(images / (images - 1))
    return float(1 - 2 * stats.norm.sf(reach))


def _sentence(d: ImageDifference, first: str, second: str) -> str:
    on = f"on {plural(d.images, 'test image')}"
    few = f"; fewer than {FEW} images, so the interval tends to be too narrow" if d.images < FEW else ""
    if d.verdict is Verdict.UNTESTED:
        return f"{d.metric}: not tested {on}: {d.why}"
    if d.verdict is Verdict.IDENTICAL or d.interval is None:
        return f"{d.metric}: no difference between {first} and {second}: identical results {on}"
    width = d.interval.width
    low, high = (rounded(value, width, signed=True) for value in (d.interval.low, d.interval.high))
    measured = f"difference {rounded(d.mean, width, signed=True)} (95 % CI {low} to {high}, {on}{few})"
    if d.verdict is Verdict.NOT_SHOWN:
        return f"{d.metric}: {d.verdict.label} between {first} and {second}: {measured}"
    return f"{d.metric}: {first} is {d.verdict} than {second}: {measured}"


def image_difference_json(d: ImageDifference) -> dict[str, JsonValue]:
    """The whole difference for JSON; unknown values are null."""
    return {
        "metric": d.metric,
        "images": d.images,
        "models": list(d.models),
        "first": _known(d.first),
        "second": _known(d.second),
        "difference": _known(d.mean),
        "interval": interval_json(d.interval),
        "verdict": d.verdict.value,
        "words": d.sentence,
    }


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
