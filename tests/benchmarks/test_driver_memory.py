"""A driver's memory stays small however many trials have ended."""

from __future__ import annotations

import pytest
from benchmark_commands import printed_by
from marks import exhaustive


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("trials", "most_mb"), [(400, 100), exhaustive(10_000, 300)])
def test_memory_beyond_that_of_an_empty_sweep(trials: int, most_mb: int) -> None:
    """Each ended trial of this sweep took 0.47 MB while Ray kept what it knew of it: 188 MB for 400."""
    printed = printed_by("benchmarks.driver_memory", "--trials", str(trials), "--metrics", "100")
    line = next(line for line in printed.splitlines() if line.startswith("this checkout"))
    early_mb, grown_mb = map(float, line.removeprefix("this checkout").split()[:2])
    assert 0 < early_mb < grown_mb < most_mb
