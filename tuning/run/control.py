"""Requests to stop trials or the sweep, and checks that Ray is alive."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

from trainables.errors import ClusterError
from trainables.run_folder import BASELINE_CLAIM, CONTROL, PAUSED, STOPPED
from tuning.ledger.outcomes import Ending
from tuning.ledger.recorder import Halt
from tuning.run.left_behind import LeftBehind

POLL_INTERVAL_S = 0.5


class Control:
    """The stop requests that other processes leave in the experiment's folder, and this process's signals.

    halted: whether a signal has come.  lost: whether Ray has died.  require_ours: raises Halt if another
    driver has taken over. left: requests to an earlier driver, which are not obeyed.
    """

    def __init__(
        self,
        folder: Path,
        clock: Callable[[], float] = time.monotonic,
        *,
        halted: Callable[[], bool] = lambda: False,
        lost: Callable[[], bool] = lambda: False,
        require_ours: Callable[[], None] = lambda: None,
        left: LeftBehind | None = None,
    ) -> None:
        self._folder = folder / CONTROL
        self._halted = halted
        self._lost = lost
        self._require_ours = require_ours
        self._left = left or LeftBehind()
        self._clock = clock
        self._polled = -math.inf

    def require_ray(self) -> None:
        """Raise Halt if Ray has died: its workers died with it, and no others will start."""
        if self._lost():
            raise Halt(
                Ending.FAILED,
                ClusterError(
                    "Ray died: its raylet or its control process was killed, or crashed."
                    " Continue the sweep with `adaptertune resume`"
                ),
            )

    def mark_stopped(self, number: int) -> None:
        """Tell the trial's worker, in the middle of an epoch, to save nothing that is not in the ledger.

        This and the next two raise Halt if another driver has taken over.
        """
        self._mark(STOPPED.format(number))

    def mark_paused(self, number: int) -> None:
        """Tell the trial's worker, in the middle of an epoch, to save the trial and to give it up."""
        self._mark(PAUSED.format(number))

    def _mark(self, name: str) -> None:
        self._require_ours()  # the workers may be another driver's
        with suppress(OSError):  # a full disk keeps the worker from saving, too
            self._folder.mkdir(exist_ok=True)
            (self._folder / name).touch()

    def release_baseline(self, trials: Collection[int]) -> None:
        """Let another worker measure the baseline, if the one that died with these trials had begun to."""
        self._require_ours()
        claim = self._folder.parent / BASELINE_CLAIM
        with suppress(OSError, ValueError):  # there is none, or it is one of before
            if int(claim.read_text(encoding="ascii")) in trials:
                claim.unlink()

    def end_asked(self) -> bool:
        """Return whether the whole sweep is to end."""
        return None in self.requests()

    def requests(self) -> list[int | None]:
        """Return the trials to stop, None for the whole sweep; each request once. Polls twice a second.

        Raises Halt if Ray has died, or another driver has taken over.
        """
        if self._halted():
            return [None]
        if self._clock() - self._polled < POLL_INTERVAL_S:
            return []
        self._polled = self._clock()
        self._require_ours()  # requests are for the driver that has taken over
        self.require_ray()
        found: list[int | None] = []
        for path in sorted(self._folder.glob("stop*")) if self._folder.is_dir() else []:
            if path in self._left:
                continue
            _, _, number = path.name.partition("-")
            if path.name == "stop" or number.isdecimal():
                found.append(int(number) if number else None)
                path.unlink(missing_ok=True)
        return found
