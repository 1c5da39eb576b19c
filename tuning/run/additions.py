"""Takes up configurations that users add to a sweep: recorded first, then proposed before any other."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.errors import AdaptertuneError, StorageError
from tuning.experiment.additions import check_addition
from tuning.experiment.space import config_hash
from tuning.experiment.spec import Experiment
from tuning.ledger.recorder import Recorder
from tuning.ledger.records import AddedRecord
from tuning.ledger.requests import read_request, requests_in
from tuning.messages import say
from tuning.run.control import POLL_INTERVAL_S

if TYPE_CHECKING:
    from tuning.search.study import Study


class Additions:
    """The requests in an experiment's folder."""

    def __init__(
        self,
        experiment: Experiment,
        folder: Path,
        recorder: Recorder,
        study: Study,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._experiment = experiment
        self._folder = folder
        self._recorder = recorder
        self._study = study
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
        """Take up all requests. One that cannot be carried out is said and removed."""
        for path in requests_in(self._folder):
            if path in self._seen:  # it could not be removed
                continue
            self._seen.add(path)
            try:
                self._add(path)
            except AdaptertuneError as error:
                say(f"a configuration was not added: {error}")
            with suppress(OSError):
                path.unlink()

    def _add(self, path: Path) -> None:
        request, history = read_request(path), self._recorder.history
        params = check_addition(self._experiment, request.params)
        key = config_hash(params)
        if any(added.hash == key and added.asked == request.time for added in history.added):
            return  # the driver that recorded it died before it could remove the request
        if (tried := history.trial_of(key)) is not None:
            raise StorageError(f"trial {tried} has it already")
        if any(added.hash == key for added in history.added):
            raise StorageError("it was added before, and waits for its turn")
        record = AddedRecord(params=params, hash=key, of=request.of, by=request.by, asked=request.time)
        self._recorder.record(record)
        self._study.add(record)
