"""Finds the trained adapter, or the pretrained baseline, that a command names."""

from __future__ import annotations

from pathlib import Path

from analysis.ranking.best_sql import best_number
from search_spaces.catalog import resolve
from trainables.errors import StorageError
from tuning.checkpoints.trained_adapter import (
    EXPERIMENT,
    TrainedAdapter,
    base_of,
    find,
    of_folder,
    of_trial,
)
from tuning.experiment.load import load_experiment
from tuning.ledger.header import experiment_of
from tuning.ledger.ledger import read_header
from tuning.ledger.storage import storage_folder


def find_adapter(text: str, storage: Path | None) -> TrainedAdapter:
    """The adapter of NAME:TRIAL, of NAME or NAME:best, or in a folder that `train` wrote."""
    found = find(text, storage_folder(storage))
    if isinstance(found, Path):
        return of_folder(found)
    number = best_number(found.folder) if found.number is None else found.number
    return of_trial(found.folder, number)


def find_baseline(text: str, storage: Path | None) -> TrainedAdapter:
    """The pretrained baseline of a trained adapter, an experiment or an experiment file."""
    if Path(text).is_file():
        return base_of(load_experiment(text))
    try:
        found = find(text, storage_folder(storage))
    except StorageError:
        if resolve(text) is None:
            raise
        return base_of(load_experiment(text))
    if isinstance(found, Path):
        return base_of(load_experiment(found / EXPERIMENT))
    return base_of(experiment_of(read_header(found.folder)))
