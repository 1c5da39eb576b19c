"""The software and hardware that ran an experiment, for the first line of its record."""

from __future__ import annotations

import os
import platform
import subprocess
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic import JsonValue

from cluster.packages import package_folder

_NOTED = ("adaptertune", "ray", "optuna", "torch", "transformers", "peft", "datasets", "hotcoco")


def describe_environment() -> dict[str, JsonValue]:
    """The package versions, Python, platform, processor, GPUs, and the checkout's git revision, if any."""
    versions: dict[str, JsonValue] = {}
    for package in _NOTED:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    found: dict[str, JsonValue] = {
        "versions": versions,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "processor": _processor(),
        "devices": list(_cards()) or ["cpu"],
    }
    if (revision := _revision()) is not None:
        found["revision"] = revision
    return found


def _processor() -> str:
    """The processor's model: metrics are bit-identical only on the same model."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def _cards() -> list[str]:
    names = []
    for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        for line in path.read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "Model":
                names.append(value.strip())
    return names


def _revision() -> str | None:
    root = package_folder("tuning").parent
    if not (root / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True, text=True, timeout=5, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
