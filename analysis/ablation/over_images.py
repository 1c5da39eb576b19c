"""The levels of an ablation compared over test images, by the bootstrap."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from analysis.ablation.result import AblationResult
from analysis.ablation.study_names import Images
from analysis.statistics.bootstrap import (
    CURVES,
    FEWEST,
    RESAMPLES,
    ImageDifference,
    compare_over_images,
    curve_count,
    read_image_results,
)
from analysis.statistics.paired import StatisticsError
from trainables.errors import DataError
from trainables.metrics.per_image import PerImage
from trainables.wording import plural
from tuning.experiment.sections.ablation import AblationStage


def image_differences(result: AblationResult, folder: Path) -> dict[str, ImageDifference]:
    """The bootstrap over test images of each level against the reference: the mean of its models.

    Both sides have the same seeds. Levels without results by image are left out. The variance over seeds
    is not included, and p is not adjusted for several levels: the comparison over seeds decides.
    """
    if result.images is not Images.TEST or result.spec.stage is AblationStage.CONFIRM:
        return {}
    asked = result.asked
    # Cached, because every difference has the reference in it.
    load = cache(lambda trial: read_image_results(folder, trial, asked.domain))
    found: dict[str, ImageDifference] = {}
    for d in result.comparison.differences:
        pairs = [
            [run.trial for run in result.at(name) if run.trial is not None and run.seed in d.seeds]
            for name in (d.level, d.reference)
        ]
        try:
            if (image := _by_image(result, asked.name, pairs, load)) is not None:
                found[d.level] = image
        except (DataError, StatisticsError):
            continue
    return found


def _by_image(
    result: AblationResult, metric: str, pairs: Sequence[Sequence[int]], load: Callable[[int], PerImage]
) -> ImageDifference | None:
    """The bootstrap with as many models and resamples as are affordable; None if not even one model is.

    Raises DataError if a model has no results by image, StatisticsError for a metric that they do not give.
    """
    if not all(pairs):
        return None
    one = curve_count(load(pairs[0][0]), metric)
    # For two models; all differences share the affordable curves.
    each = max(1, 2 * one * len(result.comparison.differences))
    if FEWEST * each > 3 * CURVES:
        return None
    seeds = min(len(pairs[0]), max(1, CURVES // (FEWEST * each)))
    resamples = min(RESAMPLES, max(FEWEST, CURVES // (seeds * each)))
    a, b = ([load(trial) for trial in side[:seeds]] for side in pairs)
    return compare_over_images(a, b, metric, direction=result.comparison.direction, resamples=resamples)


def image_sentence(level: str, reference: str, d: ImageDifference) -> str:
    """The result over test images, with the names of the levels."""
    models = f"mean of {plural(d.models[0], 'model')} each"
    return f"Over test images, {models}: {d.sentence_for(level, reference)}."
