"""Hyperparameter sweeps of adapters for vision transformers, from Python.

import adaptertune

pets = adaptertune.launch("pets.yaml", trials=20)
pets.best(k=5)
adaptertune.resume("pets", trials=40)
adaptertune.open("pets").trials

The import makes Python find adaptertune's own packages next to this one (`adaptertune.own_packages`); all
other modules are loaded when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adaptertune.own_packages import prefer_own_packages

prefer_own_packages()

if TYPE_CHECKING:
    from adaptertune.errors import NoResultsError
    from adaptertune.sweeps import launch, load, resume
    from analysis import open
    from analysis.api import Results
    from analysis.errors import NothingToRankError, QueryError
    from trainables.errors import (
        AdapterError,
        AdaptertuneError,
        CheckpointError,
        ClusterError,
        DataError,
        ExperimentFileError,
        LedgerError,
        ModelError,
        StorageError,
    )
    from tuning.experiment.spec import Experiment

    __version__: str

__all__ = [
    "AdapterError",
    "AdaptertuneError",
    "CheckpointError",
    "ClusterError",
    "DataError",
    "Experiment",
    "ExperimentFileError",
    "LedgerError",
    "ModelError",
    "NoResultsError",
    "NothingToRankError",
    "QueryError",
    "Results",
    "StorageError",
    "__version__",
    "launch",
    "load",
    "open",
    "resume",
]

_MODULES = {
    "Experiment": "tuning.experiment.spec",
    "NoResultsError": "adaptertune.errors",
    "NothingToRankError": "analysis.errors",
    "QueryError": "analysis.errors",
    "Results": "analysis.api",
    "launch": "adaptertune.sweeps",
    "load": "adaptertune.sweeps",
    "open": "analysis",
    "resume": "adaptertune.sweeps",
}
"""The modules of the names that are not defined in `trainables.errors`."""


def __getattr__(name: str) -> Any:
    """Load a name when it is first used."""
    if name not in __all__:
        raise AttributeError(f"module 'adaptertune' has no attribute '{name}'")
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("adaptertune")
    else:
        from importlib import import_module

        value = getattr(import_module(_MODULES.get(name, "trainables.errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
