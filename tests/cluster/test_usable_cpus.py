from __future__ import annotations

import os
from pathlib import Path

import pytest

from cluster.usable_cpus import count_usable_cpus

V2 = "0::/job/step\n"
V1 = "5:cpu,cpuacct:/job\n3:cpuset:/other\n0::/\n"


def groups(root: Path, own: str, **files: str) -> int:
    """The count with these files below the mounted control groups; `__` in a name is a slash."""
    for name, text in files.items():
        path = root / "cgroup" / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (root / "own").write_text(own)
    return count_usable_cpus(cgroups=root / "cgroup", own=root / "own")


@pytest.fixture(autouse=True)
def eight_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


def test_the_affinity_counts_and_not_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert count_usable_cpus(cgroups=tmp_path, own=tmp_path / "none") == 8
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3}, raising=False)
    assert count_usable_cpus(cgroups=tmp_path, own=tmp_path / "none") == 1


@pytest.mark.parametrize(
    ("files", "count"),
    [
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu.max": "300000 100000\n"}, 3),
        ({"job__cpu.max": "250000 100000\n", "job__step__cpu.max": "max 100000\n"}, 2),
        ({"job__cpu.max": "600000 100000\n", "job__step__cpu.max": "400000 100000\n"}, 4),
        ({"cpu.max": "50000 100000\n"}, 1),  # half a CPU still runs a trial
        ({"cpu.max": "1600000 100000\n"}, 8),  # more than there are
        ({"cpu.max": "nonsense\n"}, 8),
    ],
)
def test_the_quota_of_a_group_and_of_those_above_it_counts(
    files: dict[str, str], count: int, tmp_path: Path
) -> None:
    assert groups(tmp_path, V2, **files) == count


@pytest.mark.parametrize(("quota", "count"), [("-1", 8), ("200000", 2), ("150000", 1)])
def test_the_first_version_of_control_groups_counts_too(quota: str, count: int, tmp_path: Path) -> None:
    files = {"cpu,cpuacct__job__cpu.cfs_quota_us": quota, "cpu,cpuacct__job__cpu.cfs_period_us": "100000"}
    assert groups(tmp_path, V1, **files) == count


def test_a_path_that_is_not_mounted_here_is_no_limit(tmp_path: Path) -> None:
    assert groups(tmp_path, "0::/../../host/path\n") == 8
