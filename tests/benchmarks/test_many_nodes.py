"""The benchmark of a sweep on many nodes, with few."""

from __future__ import annotations

import re

import pytest
from benchmark_commands import printed_by


@pytest.mark.exhaustive
def test_a_sweep_on_a_cluster_of_raylets_on_one_machine() -> None:
    asked = ["--nodes", "6", "--slots", "3", "--trials", "40"]
    printed = printed_by("benchmarks.many_nodes", *asked, within_s=900)
    found = re.search(
        r"6 nodes, 3 trials at once, 40 trials, 100 metrics a report: [\d.]+ ms each,"
        r" driver's memory (\d+) MB beyond (\d+) MB at trial 10",
        printed,
    )
    assert found is not None, printed
    grown, empty = map(int, found.groups())
    assert grown < 50 < empty
