"""How the peers start Ray: on this machine, with workers that find the benchmarks."""

from __future__ import annotations

import os
from pathlib import Path

import ray


def start_ray() -> None:
    root = Path(__file__).resolve().parents[2]
    path = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
    environment = {"env_vars": {"PYTHONPATH": path}}
    ray.init(address="local", include_dashboard=False, log_to_driver=False, runtime_env=environment)
