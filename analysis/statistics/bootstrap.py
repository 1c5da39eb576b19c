"""How far a figure on test images, or a difference between two models, depends on which images they were.

The images are resampled, in pairs: both models see the same ones (SciPy's bootstrap over what
`trainables.metrics.per_image` kept). The trained models are fixed, so nothing is said here of
what another seed would have given; that is `analysis.statistics.paired`. No ray, no torch.
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
from trainables.metrics.per_image import AP_METRICS, BoxImages, PerImage, read
from trainables.run_folder import image_results
from trainables.specs.workload import Direction
from tuning.ledger.storage import trial_folder

RESAMPLES = 2000
FEW = 20
"""Below so many images the interval is given with a warning: it tends to be too narrow."""
DEFINED = 0.95
"""Share of the resamples in which the figure must be defined."""
AT_ONCE = 1_000_000
"""Weights held at a time."""


CURVES = 300_000
"""Precision curves that resampling images may cost: some ten seconds. Three times as many for the least."""
FEWEST = 400
"""Resamples at least."""


@dataclass(frozen=True)
class ImageDifference:
    """Two models, or two groups of models (the mean of each), on the same test images."""

    metric: str
    direction: Direction
    first: float
    second: float
    mean: float
    """first − second."""
    interval: Interval | None
    """Of that difference; None where the images cannot give one."""
    images: int
    models: tuple[int, int]
    verdict: Verdict
    """Of the first against the second; shown where 0 is outside of the interval."""
    why: str = ""

    @property
    def words(self) -> str:
        """The finding in a sentence, without its full stop."""
        return _words(self)


def stored(experiment: Path, trial: int, domain: str | None = None) -> PerImage:
    """What a scored trial did on its test images, or on those of a shifted domain.

    Raises DataError, which says that none are kept (the trial is not scored, or by an earlier version).
    """
    return read(image_results(trial_folder(experiment, trial), domain))


def curves(images: PerImage, metric: str) -> int:
    """Precision curves that one value of an AP is made of, for each class and IoU threshold; 0 of a Dice."""
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
    """The paired bootstrap over images, 95 %. Several models on a side stand for their mean.

    Raises StatisticsError for other images or classes on one side, or a metric that cannot be
    taken from single images.
    """
    models = [*first, *second]
    _same(models, metric)
    if not first or not second:
        raise StatisticsError("two models are needed, one on each side")
    a, b = (float(np.mean([model.figure(metric) for model in side])) for side in (first, second))
    sides = np.array([1 / len(first)] * len(first) + [-1 / len(second)] * len(second))
    images = len(models[0].names)
    interval, why = _interval(models, sides, metric, resamples, seed)
    if math.isnan(a - b):
        verdict, why = Verdict.UNTESTED, f"no test image has anything that {metric} is about"
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
    """The 95 % interval of a figure (of several models: of their mean); None where images cannot give one.

    Raises StatisticsError as `compare_over_images`.
    """
    _same(models, metric)
    return _interval(models, np.full(len(models), 1 / len(models)), metric, resamples, seed)[0]


def _same(models: Sequence[PerImage], metric: str) -> None:
    if not models:
        raise StatisticsError("no model's results by image are given")
    base = models[0]
    for other in models[1:]:
        if other.names != base.names:
            raise StatisticsError(
                f"models must have been scored on the same test images, got {len(base.names)} and"
                f" {len(other.names)} of which {len(set(base.names) & set(other.names))} are shared;"
                " compare models of the same data and split"
            )
        if other.classes != base.classes:
            raise StatisticsError(
                f"models must know the same classes, got {', '.join(base.classes)}"
                f" and {', '.join(other.classes)}"
            )
    if metric not in base.figures:
        raise StatisticsError(
            f"'{metric}' cannot be taken from single images; there are {', '.join(base.figures)}"
        )


def _interval(
    models: Sequence[PerImage], sides: Array, metric: str, resamples: int, seed: int
) -> tuple[Interval | None, str]:
    """The interval of the weighted sum of the models' figures, or why there is none ('': it never varies)."""
    from scipy import stats

    images = len(models[0].names)
    if images < 2:
        return None, "one test image is not enough to resample"

    def figure(places: Array, axis: int = -1) -> Array:
        """(R,) values for (R, m) image places."""
        rows = np.atleast_2d(places)
        flat = (rows + images * np.arange(len(rows))[:, None]).ravel()
        weights = np.bincount(flat, minlength=len(rows) * images).reshape(len(rows), images)
        values = sum(
            side * model.resampled(metric, weights) for side, model in zip(sides, models, strict=True)
        )
        return np.asarray(values) if places.ndim > 1 else np.asarray(values)[0]

    level = _expanded(images)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # degenerate distributions are answered below
        result = stats.bootstrap(
            (np.arange(images),),
            figure,
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
        return None, "too few test images have anything that it is about"
    if np.ptp(defined) < 1e-12:
        return None, ""
    low, high = result.confidence_interval
    if math.isnan(low) or math.isnan(high):
        low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high)), ""


def _expanded(images: int) -> float:
    """The percentiles to take so that few images still give 95 % (Hesterberg 2015, expanded percentile).

    BCa was tried and covers less: of pixel-weighted figures its skewness is that of a few large images.
    """
    from scipy import stats

    reach = stats.t.isf((1 - CONFIDENCE) / 2, images - 1) * math.sqrt(images / (images - 1))
    return float(1 - 2 * stats.norm.sf(reach))


def _words(d: ImageDifference) -> str:
    on = f"on {d.images} test images"
    few = f"; fewer than {FEW} images, so the interval tends to be too narrow" if d.images < FEW else ""
    if d.verdict is Verdict.UNTESTED:
        return f"{d.metric}: not tested {on}: {d.why}"
    if d.verdict is Verdict.IDENTICAL or d.interval is None:
        return f"{d.metric}: no difference shown: identical {on}"
    width = d.interval.width
    low, high = (rounded(value, width, signed=True) for value in (d.interval.low, d.interval.high))
    measured = f"{rounded(d.mean, width, signed=True)} (95 % interval {low} to {high}, {on}{few})"
    what = "no difference shown" if d.verdict is Verdict.NOT_SHOWN else f"the first is {d.verdict}"
    return f"{d.metric}: {what}: {measured}"


def image_difference_json(d: ImageDifference) -> dict[str, JsonValue]:
    """Everything above, for JSON."""
    return {
        "metric": d.metric,
        "images": d.images,
        "models": list(d.models),
        "first": _known(d.first),
        "second": _known(d.second),
        "difference": _known(d.mean),
        "interval": interval_json(d.interval),
        "verdict": d.verdict.value,
        "words": d.words,
    }


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
