"""What a cluster has to know of a job; the work itself is between the driver and its workers."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, Self


class NodeJob(Protocol):
    """A job that needs an experiment's folder and prepared data on its node."""

    @property
    def experiment(self) -> Path:
        """The experiment's folder, which every node sees."""
        ...

    @property
    def prepared(self) -> Path:
        """The folder of prepared data, as the driver sees it."""
        ...

    def with_prepared(self, prepared: Path) -> Self:
        """The same job on data that is prepared elsewhere."""
        ...


class TrainableJob(NodeJob, Protocol):
    """A trial and what runs it."""

    @property
    def trial(self) -> int:
        """The trial's number."""
        ...

    @property
    def trainable(self) -> str:
        """The class that runs it, `module:Class`."""
        ...
