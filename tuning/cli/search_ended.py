"""Why searches proposed nothing more, in words."""

from __future__ import annotations

from collections.abc import Sequence

from trainables.wording import plural
from tuning.ledger.history import History


def ended_lines(histories: Sequence[History], *, named: bool = False) -> list[str]:
    """A line for each search that ended before its number of trials. named: with the experiment's name."""
    lines = []
    for history in histories:
        if (ended := history.search_ended) is not None:
            of = f" of {history.name}" if named else ""
            count = plural(len(history.trials), "trial")
            lines.append(f"the search{of} ended after {count}: {ended.reason}")
    return lines
