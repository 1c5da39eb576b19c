"""What follows the record for other eyes: tables, an Optuna study, TensorBoard, Weights & Biases.

A view is written from the record alone, can be deleted, and comes back. Each has a thread and a
queue of its own, so the driver never waits for one and a slow database keeps nothing from the
others. One that fails is named once, and the sweep goes on without it. No ray, no torch.
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
"""Shortest time between two looks at the queue: records are taken in lots, and cost one flush a lot."""
BACKLOG = 200_000
"""Records that may wait for a view; one that is further behind is let go."""
CLOSING_S = 10.0
"""How long a sweep's end waits for all of its views."""


class Views:
    """Views of a sweep while it runs. A context manager; leaving it takes at most `CLOSING_S`.

    They begin with the first trial that starts: what brings them up to date would hold up Ray and it.
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
        """Tells the views of a record. Never waits, never raises."""
        for follower in self._followers:
            follower.put(record)
        if isinstance(record, StartedRecord):
            self._begin()

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
                    f"{follower.title} is still behind after {self._closing_s:g} s and is left so;"
                    " the record has everything, and `adaptertune resume` brings it up to date"
                )


def bring_up_to_date(views: Sequence[View], history: History) -> None:
    """What a sweep that is over has not shown yet, one view after the other, however long it takes.

    Raises StorageError, once all had their turn, where one of them failed.
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
            f"the record is whole, but not all views are up to date; {'; '.join(errors)}."
            " `adaptertune resume` tries it again"
        )


def _copy(history: History) -> History:
    """Histories share their trials with those that follow; each view gets a copy of its own."""
    return replace(history, trials=dict(history.trials), scores=dict(history.scores))


def _reason(error: Exception) -> str:
    """Why a view has failed, in one line."""
    ours = isinstance(error, AdaptertuneError)
    reason = str(error) if ours else ": ".join(filter(None, (type(error).__name__, str(error))))
    return reason.strip().splitlines()[0].rstrip(".")


def _close_quietly(view: View) -> None:
    try:
        view.close()
    except Exception:
        return  # it has failed already, and that was said


class ViewThread:
    """One view and its thread. A daemon: what hangs in a network never keeps the process alive."""

    def __init__(self, view: View, history: History, say: Callable[[str], None], backlog: int) -> None:
        self.title = view.title
        self._view: View = view
        self._history: History | None = history
        self._say = say
        self._queue: queue.Queue[Record | None] = queue.Queue()
        self._backlog = backlog
        self._failed = threading.Event()
        self._finishing = threading.Event()
        self._thread = threading.Thread(target=self._follow, name=f"view: {view.title}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def put(self, record: Record) -> None:
        """Queue a record; dropped if the view has failed."""
        if self._failed.is_set():
            return
        if self._queue.qsize() >= self._backlog:
            self._fail(f"it is {self._backlog:,} records behind")
            return
        self._queue.put(record)

    def finish(self) -> None:
        """Ask the thread to end once it has written what is queued."""
        self._finishing.set()
        self._queue.put(None)

    def wait(self, timeout_s: float) -> bool:
        """Whether it is done, after waiting so long. One that was let go is not waited for."""
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
            self._view.close()
        except Exception as error:
            self._fail(_reason(error))
            _close_quietly(self._view)

    def _take(self) -> bool:
        """Takes what waits, then lets the view settle. Whether there may be more."""
        record = self._queue.get()
        while record is not None:
            if self._failed.is_set():
                raise RuntimeError
            self._view.observe(record)
            try:
                record = self._queue.get_nowait()
            except queue.Empty:
                self._view.settle()
                return True
        self._view.settle()
        return False

    def _fail(self, reason: str) -> None:
        if self._failed.is_set():
            return
        self._failed.set()
        self._say(
            f"{self.title} is left behind: {reason}. The sweep goes on without it; nothing is lost,"
            " the record has everything and the next `adaptertune resume` brings it up to date"
        )
