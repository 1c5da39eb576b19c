"""A view that follows a record as it does in a driver."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tuning.ledger.history import History
from tuning.views.view import View


def of(records: Sequence[Any]) -> History:
    return History.of(records[0], records[1:])


def live(view: View, records: Sequence[Any], known: int = 1) -> None:
    """Update the view like a driver: the first `known` records are read, the others come one by one."""
    view.begin(of(records[:known]))
    for record in records[known:]:
        view.observe(record)
    view.settle()
    view.close()
