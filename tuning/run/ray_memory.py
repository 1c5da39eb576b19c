"""Lets Ray Tune forget the reports of trials that have ended."""

from __future__ import annotations

from typing import Any

_EACH_METRIC = ("metric_analysis", "metric_n_steps")
"""Extremes and averages of each metric of each trial, which only Ray's own tables show."""


class EndedTrials:
    """Ray's trials of a sweep that have ended, or are about to.

    Ray keeps all of them until the sweep ends, with statistics of every metric: most of a driver's memory
    after some thousand trials. The names are private (checked with Ray 2.60).
    """

    def __init__(self) -> None:
        self._ending: list[Any] = []

    def add(self, trial: Any) -> None:
        """A trial ends; Ray reads its last result once more while it takes its worker away."""
        self._ending.append(trial)

    def forget(self) -> None:
        """Drop the reports of those that have ended since the last call."""
        still = []
        for trial in self._ending:
            if trial.is_finished():
                _forget(trial)
            else:
                still.append(trial)
        self._ending = still


def _forget(trial: Any) -> None:
    kept = trial.run_metadata
    for name in _EACH_METRIC:
        getattr(kept, name, {}).clear()
    # Not quite empty: for a trial without a result Ray would ask its worker.
    kept.last_result = {key: kept.last_result[key] for key in ("trial_id", "done") if key in kept.last_result}
    kept.last_result.setdefault("done", True)
    trial.invalidate_json_state()
