"""Lets Ray Tune forget trials that have ended."""

from __future__ import annotations

from typing import Any

from ray.tune.progress_reporter import TrialProgressCallback

_HOLDS = ("_stopped_trials", "_failed_trials", "_trials_to_cache", "_live_trials")


def forget_ended(controller: Any) -> None:
    """Drop Ray's trials that have ended, and that no worker is assigned to.

    controller: Ray's `TuneController`. It keeps all trials until the sweep ends, with their configurations
    and statistics of every metric: most of a driver's memory after some thousand trials. Nothing reads
    them, as the record has their results. One stays, as Ray's `fit` fails at its end without any. The names
    are private (checked with Ray 2.60).
    """
    for trial in [*controller._stopped_trials, *controller._failed_trials]:
        if len(controller._trials) == 1:
            return
        if trial in controller._trial_to_actor:
            continue
        controller._trials.remove(trial)
        for name in _HOLDS:
            getattr(controller, name).discard(trial)
        controller._trial_metadata.pop(trial.trial_id, None)


class NothingShown(TrialProgressCallback):  # type: ignore[misc]
    """In place of Ray's own table of results, which it does not show here, but keeps each trial for."""

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: Any, **info: Any) -> None:
        """A report; nothing to do."""

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """A worker's death; nothing to do."""

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """A trial's end; nothing to do."""
