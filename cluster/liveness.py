"""Whether the cluster that a sweep has joined still answers. No ray.

A Ray call waits for a control process that is gone, and after a minute ends the whole process with
words of its own. So a thread looks, and the sweep ends before that: by itself where its loop goes
round, by `give_up` where it hangs in such a call.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable

POLL_INTERVAL_S = 1.0
PATIENCE_S = 15.0
"""How long a cluster may be silent: a control process that is started again takes some seconds."""
REACT_WITHIN_S = 10.0
"""How long the sweep has to end by itself once the cluster counts as lost."""


class Watch:
    """Looks at a cluster until it is stopped, or the process given up.

    answers: whether the cluster does, now.  give_up: ends the process; it does not come back.
    """

    def __init__(self, answers: Callable[[], bool], give_up: Callable[[], None]) -> None:
        self.lost = False
        """Whether the cluster has been silent for so long that nothing more is expected of it."""
        self._answers, self._give_up = answers, give_up
        self._silent_since: float | None = None
        self._stopped = threading.Event()

    def begin(self) -> None:
        """Look from now on, in a thread."""
        threading.Thread(target=self._run, name="watch", daemon=True).start()

    def stop(self) -> None:
        """Look no more; `lost` stays as it is."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.wait(POLL_INTERVAL_S):
            self.look(time.monotonic())

    def look(self, now: float) -> None:
        """One look, at a time in seconds. Silence begins with the first look that finds it.

        So a process that was itself suspended for long does not take that for silence.
        """
        if not self.lost and self._answers():
            self._silent_since = None
            return
        if self._silent_since is None:
            self._silent_since = now
        silent = now - self._silent_since
        self.lost = self.lost or silent >= PATIENCE_S
        if silent >= PATIENCE_S + REACT_WITHIN_S and not self._stopped.is_set():
            self._stopped.set()
            self._give_up()


def listens(addresses: Iterable[tuple[str, int]], within_s: float = 5.0) -> bool:
    """Whether somebody takes connections at each of the addresses."""
    try:
        for address in addresses:
            socket.create_connection(address, timeout=within_s).close()
    except OSError:
        return False
    return True
