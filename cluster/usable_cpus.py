"""Counts the CPUs that this process may use, which can be fewer than the machine has."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


def count_usable_cpus(*, cgroups: Path = _CGROUPS, own: Path = _OWN) -> int:
    """The CPUs of this process: those of its affinity (taskset, Slurm), within the quota of its cgroup.

    Ray itself counts all CPUs of the machine unless the quota of the root cgroup is set; it ignores the
    affinity. At least 1: a quota of half a CPU still runs a trial.

    cgroups: where control groups are mounted.  own: the list of this process's groups (`man 7 cgroups`).
    """
    able = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min([float(able), *_quotas(cgroups, own)])))


def _quotas(cgroups: Path, own: Path) -> Iterator[float]:
    """The quotas, in CPUs, of this process's cgroup and of all groups above it."""
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except OSError:  # not on Linux
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = cgroups / controllers if controllers else cgroups
        if controllers and not root.is_dir():
            root = cgroups / "cpu"
        group = root / path.lstrip("/")
        # In a container the path may be that of the host, which is not mounted: then only the root counts.
        for each in (group, *group.parents):
            if (quota := _quota(each)) is not None:
                yield quota
            if each == root:
                break


def _quota(group: Path) -> float | None:
    """The quota of a group in CPUs: `cpu.max` in version 2, two files in version 1; None without a limit."""
    try:
        quota, period = (group / "cpu.max").read_text(encoding="utf-8").split()
    except (OSError, ValueError):
        try:
            quota = (group / "cpu.cfs_quota_us").read_text(encoding="utf-8").strip()
            period = (group / "cpu.cfs_period_us").read_text(encoding="utf-8").strip()
        except OSError:
            return None
    try:
        given = float(quota) / float(period)
    except (ValueError, ZeroDivisionError):  # "max"
        return None
    return given if given > 0 else None
