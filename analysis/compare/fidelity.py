"""Whether the order of trials on smaller images is their order on images of the model's own size."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import JsonValue

from analysis.errors import NothingToRankError
from analysis.query.sweep import Sweep, Trial
from analysis.statistics.rank_correlation import FEWEST, RankCorrelation, rank_correlation
from analysis.tables import Table, format_signed
from tuning.ranking.standing import NEARLY, Objective, standing_at


@dataclass(frozen=True)
class SizeAgreement:
    """One smaller size. epoch: the last one with it.  reached: the number of trials with a value there."""

    image_size: tuple[int, int]
    epoch: float
    reached: int
    correlation: RankCorrelation


@dataclass(frozen=True)
class Fidelity:
    """The sizes, smallest first. epoch: at which trials are compared on images of the model's own size."""

    sweep: str
    metric: str
    epoch: float | None
    sizes: tuple[SizeAgreement, ...]


def fidelity_of(sweep: Sweep) -> Fidelity:
    """Correlate values at the last epoch of each smaller size with those at an equal budget at full size.

    That budget is the largest that all trials with a value at full size have reached.
    Raises NothingToRankError for a sweep without smaller images, or without reports on them.
    """
    smaller = sweep.experiment.workload.smaller
    if smaller is None:
        raise NothingToRankError(
            f"{sweep.name} has images of one size; scheduler.asha.fidelity gives low rungs smaller ones"
        )
    objective = sweep.objective
    trials = [trial for trial in sweep.trials if trial.comparable and trial.reports]
    full = [trial for trial in trials if trial.standing(objective) is not None]
    common = min((trial.ran for trial in full), default=None)
    final: dict[int, float] = {}
    for trial in full:
        if (found := trial.standing(objective, common)) is not None:
            final[trial.number] = found.value
    sizes = tuple(
        agreement
        for until in smaller.until
        if (agreement := _agreement(trials, objective, float(until), final)) is not None
    )
    if not sizes:
        raise NothingToRankError(f"{sweep.name}: no trial has been measured on smaller images yet")
    return Fidelity(sweep.name, objective.metric, common, sizes)


def _agreement(
    trials: list[Trial], objective: Objective, until: float, final: dict[int, float]
) -> SizeAgreement | None:
    low: dict[int, float] = {}
    size = None
    for trial in trials:
        at = [report for report in trial.reports if report.epoch <= until + NEARLY]
        if trial.ran < until - NEARLY or not at or at[-1].image_size is None:
            continue
        if (found := standing_at(at, objective, until)) is not None:
            low[trial.number], size = found.value, at[-1].image_size
    if size is None:
        return None
    both = sorted(low.keys() & final.keys())
    correlation = rank_correlation([low[n] for n in both], [final[n] for n in both])
    return SizeAgreement(size, until, len(low), correlation)


def fidelity_table(found: Fidelity) -> Table:
    """One row for each smaller size."""
    rows = tuple(
        (
            "{}×{}".format(*each.image_size),
            f"{each.epoch:g}",
            str(each.reached),
            str(each.correlation.pairs),
            format_signed(each.correlation.rho),
            _interval(each.correlation),
        )
        for each in found.sizes
    )
    at = "" if found.epoch is None else f" at epoch {found.epoch:g}, the most that all of them have reached"
    caption = (
        f"Spearman's rank correlation of {found.metric} on validation images of a smaller size, at the last"
        f" epoch with this size, and of the model's own size{at}, over the trials that have both: 1 is the"
        f" same order, 0 none. 95 % CI: bootstrap over trials, from {FEWEST} on. The trials are those that"
        " the smaller images let through, so that over all trials it is probably higher. It is that"
        " of the rung as a whole: of fewer epochs and of smaller images"
    )
    columns = ("image size", "epoch", "trials", "with both", "rank correlation", "95 % CI")
    return Table(
        f"{found.sweep}: order of trials by image size", columns, rows, caption, numeric=(1, 2, 3, 4, 5)
    )


def _interval(correlation: RankCorrelation) -> str:
    if correlation.interval is None:
        return "–"
    low, high = correlation.interval.low, correlation.interval.high
    return f"{format_signed(low)} to {format_signed(high)}"


def fidelity_json(found: Fidelity) -> dict[str, JsonValue]:
    """All numbers."""
    return {
        "experiment": found.sweep,
        "metric": found.metric,
        "epoch": found.epoch,
        "sizes": [
            {
                "image_size": list(each.image_size),
                "epoch": each.epoch,
                "trials": each.reached,
                "with_both": each.correlation.pairs,
                "spearman": each.correlation.rho,
                "interval": None
                if (interval := each.correlation.interval) is None
                else [interval.low, interval.high],
            }
            for each in found.sizes
        ],
    }
