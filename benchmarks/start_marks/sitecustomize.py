"""Writes the times of events in every Python process of a sweep to a file, for `benchmarks.sweep_start`.

Python imports this module at its start, because the benchmark puts this folder on the path of all processes.
An event is a line of JSON: its name, its time, the process and its processor seconds until then, and for a
worker's first step those of all processes of the sweep that are alive.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

FILE = os.environ.get("BENCHMARK_START_MARKS")


def mark(event: str) -> None:
    """Append an event."""
    line: dict[str, Any] = {
        "event": event,
        "time": time.time(),
        "pid": os.getpid(),
        "cpu": time.process_time(),
    }
    if event == "first step":
        line |= {"all": all_cpu_s(), "modules": len(sys.modules)}
    with open(str(FILE), "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def all_cpu_s() -> float:
    """The processor seconds of all processes that write to this file, and of their ended children."""
    ticks = 0
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdecimal() and str(FILE).encode() in (folder / "environ").read_bytes():
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                ticks += sum(int(field) for field in fields[11:15])
        except OSError:  # it has ended, or is another user's
            continue
    return ticks / os.sysconf("SC_CLK_TCK")


def once(owner: Any, name: str, *, before: str | None = None, after: str | None = None) -> None:
    """Mark the first call of `owner.name`."""
    real = getattr(owner, name)
    calls: list[None] = []

    def marked(*args: Any, **options: Any) -> Any:
        calls.append(None)
        if before is not None and len(calls) == 1:
            mark(before)
        result = real(*args, **options)
        if after is not None and len(calls) == 1:
            mark(after)
        return result

    setattr(owner, name, marked)


def ray_started(module: Any) -> None:
    once(module, "init", after="ray up")


def data_ready(module: Any) -> None:
    once(module, "prepare_now", after="data ready")


def worker_ready(module: Any) -> None:
    once(module.Worker, "setup", before="trial arrives", after="worker ready")


def step_taken(module: Any) -> None:
    # The end of a step, alone or in a pack; checkouts from before packs have only the step itself.
    name = "finish_step" if hasattr(module.Engine, "finish_step") else "_step"
    once(module.Engine, name, after="first step")


WATCHED: dict[str, Callable[[Any], None]] = {
    "ray": ray_started,
    "tuning.run.prepared_data": data_ready,
    "cluster.ray_worker": worker_ready,
    "trainables.training.engine": step_taken,
}


class Watching(Loader):
    """Loads a module, then marks calls of its functions."""

    def __init__(self, loader: Any, name: str) -> None:
        self.loader, self.name = loader, name

    def create_module(self, spec: ModuleSpec) -> Any:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)
        WATCHED[self.name](module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)


class Finder(MetaPathFinder):
    """Finds the watched modules as Python does."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if fullname not in WATCHED:
            return None
        spec = PathFinder.find_spec(fullname, path)
        if spec is not None and spec.loader is not None:
            spec.loader = Watching(spec.loader, fullname)
        return spec


if FILE is not None:
    sys.meta_path.insert(0, Finder())
    mark("process")
