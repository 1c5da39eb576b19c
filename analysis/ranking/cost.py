"""The costs of a trial. No import of our packages at run time, so that the command line starts fast."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from analysis.query.sweep import Sweep, Trial


class Cost(StrEnum):
    """A cost of a trial; less is better."""

    PARAMETERS = "parameters"
    SECONDS = "seconds"
    MEMORY = "peak_mb"
    LATENCY = "latency_ms"

    def of(self, sweep: Sweep, trial: Trial) -> float | None:
        """The cost of a trial of a sweep; None if it is not recorded."""
        match self:
            case Cost.PARAMETERS:
                return None if trial.trainable is None else float(trial.trainable)
            case Cost.SECONDS:
                return trial.seconds or None
            case Cost.MEMORY:
                return trial.peak_mb or None
            case Cost.LATENCY:
                score = sweep.scores.get(trial.number)
                return None if score is None else score.latency_ms

    def range_of(self, sweep: Sweep, trial: Trial) -> tuple[float, float] | None:
        """The least and the most that was measured of a cost; None for a cost that is a single number."""
        score = sweep.scores.get(trial.number)
        if self is not Cost.LATENCY or score is None:
            return None
        low, high = score.latency_low_ms, score.latency_high_ms
        return None if low is None or high is None else (low, high)

    @property
    def label(self) -> str:
        """Its name with its unit."""
        match self:
            case Cost.PARAMETERS:
                return "trainable parameters"
            case Cost.SECONDS:
                return "seconds of training"
            case Cost.MEMORY:
                return "peak memory in MB"
            case Cost.LATENCY:
                return "milliseconds an image"
