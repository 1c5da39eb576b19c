"""The parts of a job that a cluster uses; the rest is for the driver and its workers."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, Self


class NodeJob(Protocol):
    """A job that needs an experiment's folder and prepared data on its node."""

    @property
    def experiment(self) -> Path:
        """The experiment's folder, which every node mounts."""
        ...

    @property
    def prepared(self) -> Path:
        """The folder of prepared data on the driver's node."""
        ...

    def with_prepared(self, prepared: Path) -> Self:
        """The same job with another folder of prepared data."""
        ...


class TrainableJob(NodeJob, Protocol):
    """A trial and the class that runs it."""

    @property
    def trial(self) -> int:
        """The trial's number."""
        ...

    @property
    def trainable(self) -> str:
        """The class that runs it, `module:Class`."""
        ...
