"""The tree of all errors that are shown to users. Each message states the rule, the value and the solution.

AdaptertuneError
├── ExperimentFileError   the YAML file: all errors at once
├── DataError             images, boxes, masks, annotation files
├── ModelError            a backbone that cannot be loaded or does not fit the task
├── AdapterError          an adapter that does not fit the model
├── CheckpointError       a checkpoint that is damaged or belongs to another trial
│   └── StaleStartError   a trial has started again elsewhere, so this worker may save nothing more
├── LedgerError           a record that cannot be read, or has another writer
│   └── SupersededError   another driver has taken over, and this one stops
├── StorageError          no such experiment, a name that is taken, a full or read-only disk
├── SubmitError           a scheduler's program is missing, or refuses the job
└── ClusterError          Ray did not start, or died during the sweep, which can be resumed
"""

from __future__ import annotations


class AdaptertuneError(Exception):
    """An error that the user can fix; shown without a traceback."""


def reason_of(error: Exception) -> str:
    """An error in one line: only its message if the user can fix it, otherwise with its type."""
    return str(error) if isinstance(error, AdaptertuneError) else f"{type(error).__name__}: {error}"


class ExperimentFileError(AdaptertuneError):
    """The experiment file has errors."""


class DataError(AdaptertuneError):
    """The data cannot be used as requested."""


class ModelError(AdaptertuneError):
    """The backbone cannot be loaded, or does not fit the task."""


class AdapterError(AdaptertuneError):
    """The adapter does not fit the model."""


class CheckpointError(AdaptertuneError):
    """A checkpoint is damaged, or belongs to another trial."""


class StaleStartError(CheckpointError):
    """The trial has started again elsewhere; this worker may save nothing more."""


class LedgerError(AdaptertuneError):
    """The record cannot be read, or another driver writes it."""


class SupersededError(LedgerError):
    """Another driver has taken over the experiment; this one may write no more."""


class StorageError(AdaptertuneError):
    """The experiment's folder cannot be used."""


class SubmitError(AdaptertuneError):
    """A job cannot be submitted: the scheduler's program is missing, or refuses it."""


class ClusterError(AdaptertuneError):
    """Ray did not start, or the cluster of the sweep is lost; `adaptertune resume` continues then."""
