"""Takes up the requests that users leave in an experiment's folder, each once, the oldest first."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from trainables.errors import AdaptertuneError
from tuning.ledger.recorder import Recorder
from tuning.ledger.requests import Request, read_request, requests_in
from tuning.messages import say
from tuning.run.control import POLL_INTERVAL_S

Take = Callable[[Any], None]
"""Records a request and carries it out. Raises AdaptertuneError for one that cannot be carried out."""


class Inbox:
    """The requests in an experiment's folder. takes: what takes up the requests of each type."""

    def __init__(
        self,
        folder: Path,
        recorder: Recorder,
        takes: Mapping[type[Request], Take],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._recorder = recorder
        self._takes = takes
        self._clock = clock
        self._polled = -math.inf
        self._seen: set[Path] = set()

    def check(self) -> None:
        """Take up what has come since the last time; looks into the folder twice a second."""
        if self._clock() - self._polled < POLL_INTERVAL_S:
            return
        self._polled = self._clock()
        self.take()

    def take(self) -> None:
        """Take up all requests. One that cannot be carried out is said and removed.

        Raises Halt if another driver has taken over, to which they belong.
        """
        for path in requests_in(self._folder):
            if path in self._seen:  # it could not be removed
                continue
            self._seen.add(path)
            self._recorder.require_ours()
            try:
                request = read_request(path)
                # Else the driver that recorded it died before it could remove the file.
                if request.time not in self._recorder.history.asked:
                    self._takes[type(request)](request)
            except AdaptertuneError as error:
                say(f"a request was not carried out: {error}")
            with suppress(OSError):
                path.unlink()
