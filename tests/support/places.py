"""How many workers fit, as a test says."""

from __future__ import annotations

from collections.abc import Callable

from cluster.capacity import Capacity, Needs

ON_CPU, ON_GPU = Needs(1.0, 0.0), Needs(1.0, 1.0)


class Places(Capacity):
    """As many places as `count()`, for workers that reserve `reserved()`."""

    def __init__(self, count: Callable[[], int], reserved: Callable[[], Needs] = lambda: ON_CPU) -> None:
        super().__init__(list, lambda nodes: reserved(), None)
        self._count, self._reserved = count, reserved

    def __call__(self) -> int:
        self._needs = self._reserved()
        return self._count()
