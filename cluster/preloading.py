"""Lets Ray's worker processes import what a trial needs as soon as they start, before there is a trial.

Ray starts as many idle workers as it has CPUs, and imports the modules named in its setting
`preload_python_modules` in each of them. That one is `cluster.preload`, which calls `preload_here`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from cluster.paused_collector import collector_paused

VARIABLE = "ADAPTERTUNE_PRELOAD"
"""The environment variable of a worker with what it preloads, as JSON."""


@dataclass(frozen=True)
class Preload:
    """What workers import when they start.

    modules: their names.  workers: the most workers of a machine that do so, the number of trials at once;
    the others would only use memory.  forked: modules that one process imports, of which the workers let
    themselves make copies (`cluster.forked`).
    """

    modules: tuple[str, ...]
    workers: int
    forked: tuple[str, ...] = ()

    def environment(self, packages: Path, claims: Path) -> dict[str, str]:
        """The environment variables with which Ray must be started.

        packages: the folder of our packages, because an idle worker does not yet see the driver's path.
        claims: a folder in which each of the workers claims its import.
        """
        claims.mkdir(parents=True, exist_ok=True)
        path = [str(packages), *filter(None, [os.environ.get("PYTHONPATH")])]
        return {
            # As a variable and not as a setting of `ray.init`: a Ray that does not know it ignores it.
            "RAY_preload_python_modules": "cluster.preload",
            "PYTHONPATH": os.pathsep.join(path),
            VARIABLE: json.dumps({"modules": self.modules, "workers": self.workers, "claims": str(claims)}),
        }


def preload_here() -> None:
    """Import the modules of `ADAPTERTUNE_PRELOAD`, if this worker is among the first of its machine.

    What cannot be imported is left for the trial, whose failure then has the reason: an error here would
    end the worker.
    """
    asked = os.environ.get(VARIABLE)
    if asked is None:
        return
    with suppress(Exception):
        given = json.loads(asked)
        if not _claimed(Path(given["claims"]), given["workers"]):
            return
        import_modules(given["modules"])


def import_modules(names: Iterable[str]) -> None:
    """Import modules in a process that has done nothing yet."""
    with collector_paused(freeze=True):
        for name in names:
            import_module(name)


def _claimed(folder: Path, workers: int) -> bool:
    """Whether this process is one of the first `workers` to ask."""
    for number in range(workers):
        with suppress(FileExistsError):
            os.close(os.open(folder / str(number), os.O_CREAT | os.O_EXCL))
            return True
    return False
