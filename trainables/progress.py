"""Shows how far a long loop has come: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from trainables.wording import plural

QUIET_S = 20.0
"""Without a terminal: seconds between two lines."""

Advance = Callable[[], None]


@contextmanager
def shown_progress(
    what: str, total: int, *, noun: str = "image", clock: Callable[[], float] = time.monotonic
) -> Iterator[Advance]:
    """Yield a function to call after each of `total` items, from one thread. Everything goes to stderr.

    what: the work, such as `preparing data`.  A loop that takes less than `QUIET_S` prints no line.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(what, total, noun, clock)
        return
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda: bar.advance(task)


class _Lines:
    def __init__(self, what: str, total: int, noun: str, clock: Callable[[], float]) -> None:
        self._what, self._of, self._clock = what, plural(total, noun), clock
        self._done, self._printed = 0, clock()

    def __call__(self) -> None:
        self._done += 1
        now = self._clock()
        if now - self._printed >= QUIET_S:
            self._printed = now
            # Nobody may read it any more, which is no reason to stop working.
            with suppress(OSError, ValueError):
                print(f"{self._what}: {self._done:,} of {self._of}", file=sys.stderr, flush=True)
