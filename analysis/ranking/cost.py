"""What a trial takes. Imports nothing, so that the command line can name it at once."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from analysis.query.sweep import Sweep, Trial


class Cost(StrEnum):
    """What a trial takes; less is better."""

    PARAMETERS = "parameters"
    SECONDS = "seconds"
    MEMORY = "peak_mb"
    LATENCY = "latency_ms"

    def of(self, sweep: Sweep, trial: Trial) -> float | None:
        """What a trial of a sweep took; None where the record does not hold it."""
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

    @property
    def words(self) -> str:
        """With its unit."""
        match self:
            case Cost.PARAMETERS:
                return "trainable parameters"
            case Cost.SECONDS:
                return "seconds of training"
            case Cost.MEMORY:
                return "peak memory in MB"
            case Cost.LATENCY:
                return "milliseconds an image"
