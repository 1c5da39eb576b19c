from __future__ import annotations

import os

import pytest

from cluster.usable_memory import usable_memory

PAGES = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(("total", "expected"), [(10_000, 7_000.0), (None, 0.7 * PAGES)])
def test_ray_keeps_a_part_for_its_store(
    monkeypatch: pytest.MonkeyPatch, total: int | None, expected: float
) -> None:
    monkeypatch.setattr("cluster.usable_memory.read_memory", lambda: (total, total))
    assert usable_memory() == pytest.approx(expected)
