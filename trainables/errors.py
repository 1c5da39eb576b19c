"""The one tree of errors that reach a user. Each message states the rule, the value and the way out.

AdaptertuneError
├── ExperimentFileError   the YAML file: every fault at once
├── DataError             images, boxes, masks, annotation files
├── ModelError            a backbone that cannot be loaded or does not fit the task
├── AdapterError          an adapter that does not fit the model
├── CheckpointError       a checkpoint that is damaged or belongs to another trial
├── LedgerError           a record that cannot be read, or has another writer
├── StorageError          no such experiment, a name that is taken, a full or read-only disk
└── ClusterError          Ray died under the sweep, which can be resumed
"""

from __future__ import annotations


class AdaptertuneError(Exception):
    """A fault that the user can mend; shown without a traceback."""


def reason_of(error: Exception) -> str:
    """An error in a line: as it is where the user can mend it, else with its kind."""
    return str(error) if isinstance(error, AdaptertuneError) else f"{type(error).__name__}: {error}"


class ExperimentFileError(AdaptertuneError):
    """The experiment file is wrong."""


class DataError(AdaptertuneError):
    """The data cannot be used as asked."""


class ModelError(AdaptertuneError):
    """The backbone cannot be loaded, or does not fit the task."""


class AdapterError(AdaptertuneError):
    """The adapter does not fit the model."""


class CheckpointError(AdaptertuneError):
    """A checkpoint is damaged, or belongs to another trial."""


class LedgerError(AdaptertuneError):
    """The record cannot be read, or another driver writes it."""


class StorageError(AdaptertuneError):
    """The experiment's folder cannot be used."""


class ClusterError(AdaptertuneError):
    """What the sweep runs on is gone; it goes on with `adaptertune resume`."""
