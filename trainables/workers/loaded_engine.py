"""The engine of a worker process, which its trials share."""

from __future__ import annotations

from pathlib import Path

from trainables.specs.job import Job
from trainables.specs.workload import Workload
from trainables.training.engine import Engine


class LoadedEngine:
    """The engine of a worker: kept from trial to trial, as long as they share backbone and data."""

    def __init__(self) -> None:
        self._engine: Engine | None = None
        self._loaded: tuple[Workload, Path] | None = None

    def of(self, job: Job) -> Engine:
        """The engine for a job's backbone and data, loaded if need be. Raises what `Engine` raises."""
        loaded = (job.workload, job.prepared)
        if self._engine is None or self._loaded != loaded:
            self._engine, self._loaded = Engine(*loaded), loaded
        return self._engine
