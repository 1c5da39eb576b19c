"""Memory that a step frees stays with the process."""

from __future__ import annotations

import ctypes

import pytest

from trainables.training.freed_memory import keep_freed_memory


class Library:
    """A C library; accepts: the largest threshold of a mapping that it takes, None without `mallopt`."""

    def __init__(self, accepts: int | None) -> None:
        self.set: list[tuple[int, int]] = []
        if accepts is not None:
            self.mallopt = lambda name, value: self._set(name, value, accepts)

    def _set(self, name: int, value: int, accepts: int) -> int:
        self.set.append((name, value))
        return int(name == -1 or value <= accepts)


@pytest.mark.parametrize(
    ("accepts", "kept", "asked"),
    [
        (2**30, True, [-1, -3]),
        (2**25, True, [-1, -3, -3]),
        (2**20, False, [-1, -3, -3]),
        (None, False, []),
    ],
)
def test_it_is_asked_of_the_c_library_where_that_can_do_it(
    monkeypatch: pytest.MonkeyPatch, accepts: int | None, kept: bool, asked: list[int]
) -> None:
    library = Library(accepts)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    assert keep_freed_memory.__wrapped__() is kept
    assert [name for name, _ in library.set] == asked
