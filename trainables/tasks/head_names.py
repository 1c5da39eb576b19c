"""How the data's class names are found among those of a checkpoint's head."""

from __future__ import annotations

from collections.abc import Sequence

from trainables.data.sample import spelled_otherwise
from trainables.specs.heads import HeadSource


def head_source(order: Sequence[int] | None, count: int) -> HeadSource:
    """The origin of a head. order: its row for each class; None for a new one.  count: its rows."""
    if order is None:
        return HeadSource.NEW
    return HeadSource.KEPT if list(order) == list(range(count)) else HeadSource.MAPPED


def name_fault(classes: Sequence[str], known: Sequence[str]) -> str | None:
    """Why classes that only differ from known ones in case or blanks are refused; None if there are none.

    The head would be thrown away for a spelling.
    """
    listed = spelled_otherwise(classes, known)
    if not listed:
        return None
    return (
        f"the checkpoint's head knows the classes {listed} by another spelling; rename them in the data, or "
        "set model.new_head: true to start with a new head"
    )
