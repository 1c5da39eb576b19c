"""The threads that keep views up to date with the record while a sweep runs.

A view is written from the record alone; if it is deleted, it is written again. Each view has its own
thread and queue, so the driver never waits for a view, and a slow database does not delay the other
views. A view that fails is reported once, and the sweep continues without it.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Self

from trainables.errors import AdaptertuneError, StorageError
from tuning.ledger.history import History
from tuning.ledger.records import Record, StartedRecord
from tuning.views.view import View

PAUSE_S = 0.2
"""The shortest time between two polls of the queue, so that records come in batches with one flush each."""
BACKLOG = 200_000
"""The most records that may wait for a view; a view that is further behind is dropped."""
CLOSING_S = 10.0
"""How long the end of a sweep waits for all of its views."""


class Views:
    """The views of a running sweep. A context manager; leaving it takes at most `CLOSING_S`.

    The views begin when the first trial starts: bringing them up to date earlier would delay Ray.
    """

    def __init__(
        self,
        views: Sequence[View],
        history: History,
        *,
        say: Callable[[str], None],
        closing_s: float = CLOSING_S,
        backlog: int = BACKLOG,
    ) -> None:
        self._followers = [ViewThread(view, _copy(history), say, backlog) for view in views]
        self._say = say
        self._closing_s = closing_s
        self._begun = False

    def put(self, record: Record) -> None:
        """Queue a record for all views. Never waits, never raises."""
        for follower in self._followers:
            follower.put(record)
        if isinstance(record, StartedRecord):
            self._begin()

    def abandon(self) -> None:
        """Write nothing more, in place of leaving: another driver has taken over. Waits for nothing."""
        self._begun = True
        for follower in self._followers:
            follower.abandon()

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            for follower in self._followers:
                follower.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._begin()
        for follower in self._followers:
            follower.finish()
        deadline = time.monotonic() + self._closing_s
        for follower in self._followers:
            if not follower.wait(max(0.0, deadline - time.monotonic())):
                self._say(
                    f"cannot bring {follower.title} up to date within {self._closing_s:g} s; the record is"
                    " complete, and `adaptertune resume` does it later"
                )


def bring_up_to_date(views: Sequence[View], history: History) -> None:
    """Bring the views of a finished sweep up to date, one after the other, without a time limit.

    Raises StorageError, after all have been tried, if one of them failed.
    """
    errors = []
    for view in views:
        try:
            view.begin(_copy(history))
            view.close()
        except Exception as error:
            errors.append(f"{view.title}: {_reason(error)}")
            _close_quietly(view)
    if errors:
        raise StorageError(
            f"the record is complete, but not all views are up to date; {'; '.join(errors)}."
            " `adaptertune resume` tries again"
        )


def _copy(history: History) -> History:
    """A copy of a history for one view, because histories share their trials with later ones."""
    return replace(history, trials=dict(history.trials), scores=dict(history.scores))


def _reason(error: Exception) -> str:
    """The reason why a view has failed, on one line."""
    ours = isinstance(error, AdaptertuneError)
    reason = str(error) if ours else ": ".join(filter(None, (type(error).__name__, str(error))))
    return reason.strip().splitlines()[0].rstrip(".")


def _close_quietly(view: View) -> None:
    try:
        view.close()
    except Exception:
        return  # the failure has already been reported


class ViewThread:
    """A view and its thread, which is a daemon so that a hanging network never keeps the process alive."""

    def __init__(self, view: View, history: History, say: Callable[[str], None], backlog: int) -> None:
        self.title = view.title
        self._view: View = view
        self._history: History | None = history
        self._say = say
        self._queue: queue.Queue[Record | None] = queue.Queue()
        self._backlog = backlog
        self._failed = threading.Event()
        self._finishing = threading.Event()
        self._abandoned = threading.Event()
        self._thread = threading.Thread(target=self._follow, name=f"view: {view.title}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def put(self, record: Record) -> None:
        """Queue a record; it is dropped if the view has failed."""
        if self._failed.is_set():
            return
        if self._queue.qsize() >= self._backlog:
            self._fail(f"it is {self._backlog:,} records behind")
            return
        self._queue.put(record)

    def finish(self) -> None:
        """Ask the thread to end after it has written the queued records."""
        self._finishing.set()
        self._queue.put(None)

    def abandon(self) -> None:
        """Ask the thread to end and to write none of the queued records."""
        self._abandoned.set()
        self.finish()

    def wait(self, timeout_s: float) -> bool:
        """Wait at most `timeout_s` for the thread to end; return whether it has. A failed view is done."""
        if self._failed.is_set():
            return True
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _follow(self) -> None:
        try:
            assert self._history is not None
            self._view.begin(self._history)
            self._history = None
            while self._take():
                self._finishing.wait(PAUSE_S)
            if not self._abandoned.is_set():
                self._view.close()
        except Exception as error:
            if not self._abandoned.is_set():
                self._fail(_reason(error))
                _close_quietly(self._view)
        if self._abandoned.is_set():
            self._view.abandon()

    def _take(self) -> bool:
        """Pass the queued records to the view and let it settle. Returns whether there may be more."""
        record = self._queue.get()
        while record is not None and not self._abandoned.is_set():
            if self._failed.is_set():
                raise RuntimeError
            self._view.observe(record)
            try:
                record = self._queue.get_nowait()
            except queue.Empty:
                break
        if not self._abandoned.is_set():
            self._view.settle()
        return record is not None and not self._abandoned.is_set()

    def _fail(self, reason: str) -> None:
        if self._failed.is_set():
            return
        self._failed.set()
        self._say(
            f"cannot update {self.title}: {reason}. The sweep continues without this view; nothing is lost:"
            " the record is complete, and the next `adaptertune resume` brings the view up to date"
        )
