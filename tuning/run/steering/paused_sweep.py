"""What a driver does while nothing may run: it waits, or ends and leaves the paused trials for a resume."""

from __future__ import annotations

import time

from trainables.wording import few
from tuning.ledger.outcomes import Ending
from tuning.ledger.recorder import Halt, Recorder
from tuning.messages import say
from tuning.run.control import POLL_INTERVAL_S
from tuning.run.ray_scheduler import ControlledScheduler


def wait_while_paused(recorder: Recorder, scheduler: ControlledScheduler, name: str) -> bool:
    """Wait as long as the sweep is paused as a whole; returns whether it was.

    name: the experiment's, as the shell takes it. Raises Halt if the sweep is to end.
    """
    if None not in recorder.history.paused:
        return False
    say(f"paused: no trial runs, and none starts until `adaptertune unpause {name}`")
    while None in recorder.history.paused:
        time.sleep(POLL_INTERVAL_S / 2)
        scheduler.obey(None)
    say("unpaused")
    return True


def end_if_trials_are_paused(recorder: Recorder, name: str) -> None:
    """Raise Halt if only trials are left that the user has paused. name: see `wait_while_paused`."""
    history = recorder.history
    left = [str(n) for n, trial in history.trials.items() if n in history.paused and not trial.over]
    if not left:
        return
    say(
        f"only paused trials are left ({few(left, 8)}), so the sweep is not finished:"
        f" `adaptertune unpause {name}:{left[0]}`, then `adaptertune resume {name}`"
    )
    raise Halt(Ending.INTERRUPTED)
