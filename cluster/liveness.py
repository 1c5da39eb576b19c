"""Checks whether the cluster that a sweep has joined still answers.

A Ray call waits for a lost control process, and after a minute it ends the whole process with
its own message. So a thread polls the cluster, and the sweep ends before that: by itself if its loop
still runs, through `give_up` if it hangs in such a call.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable

POLL_INTERVAL_S = 1.0
PATIENCE_S = 15.0
"""Seconds that a cluster may not answer: the restart of a control process takes some seconds."""
REACT_WITHIN_S = 10.0
"""Seconds that the sweep has to end by itself after the cluster is considered lost."""


class Watch:
    """Polls a cluster until it is stopped, or the process is given up.

    answers: whether the cluster answers now.  give_up: ends the process; it does not return.
    """

    def __init__(self, answers: Callable[[], bool], give_up: Callable[[], None]) -> None:
        self.lost = False
        """Whether the cluster has not answered for so long that it is considered lost."""
        self._answers, self._give_up = answers, give_up
        self._silent_since: float | None = None
        self._stopped = threading.Event()

    def begin(self) -> None:
        """Start polling, in a thread."""
        threading.Thread(target=self._run, name="watch", daemon=True).start()

    def stop(self) -> None:
        """Stop polling; `lost` does not change."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.wait(POLL_INTERVAL_S):
            self.poll(time.monotonic())

    def poll(self, now: float) -> None:
        """Poll once. now: the time in seconds. Silence begins with the first poll without an answer.

        So the time in which the process itself was suspended does not count as silence.
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
    """Whether each of the addresses accepts connections."""
    try:
        for address in addresses:
            socket.create_connection(address, timeout=within_s).close()
    except OSError:
        return False
    return True
