"""Puts this folder on the path, for helpers that several rooms' tests share (`scripted`)."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parent
ON_RAY = {
    "acceptance/test_ablation_trained.py",
    "acceptance/test_chaos.py",
    "acceptance/test_many_nodes.py",
    "acceptance/test_object_store.py",
    "acceptance/test_real_sweeps.py",
    "acceptance/test_views_read_back.py",
    "acceptance/test_wheel.py",
    "cluster/test_connect.py",
    "tuning/test_checkpoint_budget.py",
    "tuning/test_cli_ablate.py",
    "tuning/test_finalists.py",
    "tuning/test_launch.py",
    "tuning/test_resume.py",
    "tuning/test_resume_faults.py",
    "tuning/test_views_sweep.py",
    "tuning/test_warm_start.py",
}
"""Files whose tests bring Ray up. One process runs them all: Rays that start at once disturb each other."""


def pytest_itemcollected(item: pytest.Item) -> None:
    """A file's tests stay together, for the fixtures that they share."""
    file = item.path.relative_to(ROOT).as_posix()
    item.add_marker(pytest.mark.xdist_group("ray" if file in ON_RAY else file))
