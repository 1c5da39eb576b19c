"""A trial as a row of the live table, and as a curve."""

from __future__ import annotations

from typing import Any

from analysis.live.versions import Point
from analysis.query.sweep import Trial
from analysis.report.svg import OF_THE_PAGE, adapter_colour, adapter_marker
from trainables.specs.adapters import TRAINS_BACKBONE
from tuning.ledger.history import TrialHistory
from tuning.ranking.standing import Objective

CODES = {"s": "square", "o": "circle", "^": "up", "v": "down", "D": "diamond", "P": "plus", "X": "cross"}
"""The report's markers that the page draws; any other is a star."""


def row_of(history: TrialHistory, trial: Trial, objective: Objective) -> dict[str, Any]:
    """The values of a row.

    epoch, of: the epochs that it has run, and was asked to run.  time: of its last line but one that only
    removes checkpoints, in seconds since 1970.  lanes: how many trials took their steps together, itself
    included.  value: of the objective by its rule, if the trial is comparable.
    """
    last = history.reports[-1] if history.reports else None
    value, standing = history.value, trial.standing(objective)
    return {
        "trial": trial.number,
        "state": trial.shown,
        "value": value if trial.comparable else None,
        "collapsed": bool(standing is not None and standing.collapsed),
        "epoch": trial.ran,
        "of": trial.epochs,
        "adapter": trial.adapter,
        "freezing": trial.freezing,
        "backbone": trial.freezing in TRAINS_BACKBONE,
        "trainable": trial.trainable,
        "seconds": round(trial.seconds, 1),
        "peak_mb": trial.peak_mb,
        "lanes": last.lanes if last is not None else 1,
        "worker": history.worker,
        "time": history.ended.time if history.ended else last.time if last else history.started,
        "stopped_by": trial.stopped_by,
        "reason": trial.reason,
        "repeats": history.ended.of if history.ended else None,
        "begins": history.parent.told if history.parent is not None else None,
        "params": dict(trial.params),
    }


def points_of(history: TrialHistory, metric: str) -> list[Point]:
    """The learning curve of a trial: the values of its reports, not the best so far."""
    return [(report.epoch, report.metrics[metric]) for report in history.reports if metric in report.metrics]


def style_of(adapter: str) -> tuple[str, str]:
    """Colour and marker of an adapter, as in the report; the colour may be one of the page's."""
    colour = adapter_colour(adapter)
    return OF_THE_PAGE.get(colour, OF_THE_PAGE.get(colour.lower(), colour)), CODES.get(
        adapter_marker(adapter), "star"
    )
