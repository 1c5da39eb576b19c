"""Which way round a photo was when its boxes or its mask were drawn: upright, or as its pixels are stored.

Annotation tools show photos upright, but some ignore the EXIF orientation. The sizes say which, if the
photo is oblong and was turned sideways; the other photos of the same file or folder were annotated with the
same tool, so they say it for those that do not.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum

ASSUMED = "assumed upright"
"""What is noticed of a photo of which nothing says how it was annotated."""


class Drawn(Enum):
    """The pixels that an annotation refers to."""

    UPRIGHT = "upright"
    STORED = "as stored"


Probe = Callable[[], "Drawn | None"]
"""What one photo's sizes say; None if they say nothing."""


@dataclass(eq=False)
class Custom:
    """What the photos of one part say together, found out when it is first asked for."""

    probes: Iterable[Probe] = ()
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _known: Drawn | None = None
    _mixed: bool = False
    _asked: bool = False

    def settle(self, own: Drawn | None) -> Drawn:
        """The way round of a photo whose own sizes say `own`. Raises ValueError if it cannot be told."""
        if own is not None:
            return own
        with self._lock:
            if not self._asked:
                said = {found for probe in self.probes if (found := probe()) is not None}
                self._mixed, self._known = len(said) > 1, next(iter(said), None)
                self._asked = True
        if self._mixed:
            raise ValueError(
                "it is a turned photo (EXIF), and it cannot be told which way its annotations were drawn: "
                "some photos here were annotated upright, others as stored; turn its pixels and remove the "
                "EXIF orientation"
            )
        return self._known or Drawn.UPRIGHT

    @property
    def assumed(self) -> bool:
        """Whether no photo's sizes say it, so that upright is what most tools do, not what is known."""
        with self._lock:
            return self._asked and self._known is None


def by_size(
    target: tuple[int, int] | None, upright: tuple[int, int], stored: tuple[int, int]
) -> Drawn | None:
    """What an annotated (height, width) says. Raises ValueError if it is neither of the photo's sizes."""
    if target is None:
        return None
    if target not in (upright, stored):
        height, width = upright
        raise ValueError(f"it is {width}×{height} pixels but annotated as {target[1]}×{target[0]}")
    if upright == stored:
        return None
    return Drawn.UPRIGHT if target == upright else Drawn.STORED
