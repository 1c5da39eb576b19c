"""Where the head of a trial's model comes from, as every run says it."""

from __future__ import annotations

from enum import StrEnum


class HeadSource(StrEnum):
    """The origin of a head."""

    KEPT = "head kept"
    """The checkpoint's, whose classes are the data's, in their order."""
    MAPPED = "head mapped by name"
    """The checkpoint's, of whose classes the data have some, or all in another order."""
    NEW = "new head"
    """Drawn at random: the checkpoint has none for these classes, or not of this shape."""
