"""Finds the trained adapter, or the pretrained baseline, that a command names."""

from __future__ import annotations

from pathlib import Path

from analysis.ranking.rank_by_sql import best_number
from search_spaces.catalog import find_shipped
from trainables.errors import StorageError
from tuning.checkpoints.trained_adapter import (
    EXPERIMENT,
    TrainedAdapter,
    adapter_of_folder,
    adapter_of_trial,
    find_trained,
    pretrained_baseline,
)
from tuning.experiment.load import load_experiment, load_run_file
from tuning.ledger.header import experiment_of
from tuning.ledger.ledger import read_history
from tuning.ledger.storage import storage_folder


def find_adapter(text: str, storage: Path | None) -> TrainedAdapter:
    """The adapter of NAME:TRIAL, of NAME or NAME:best[:METRIC], or in a folder that `train` wrote."""
    found = find_trained(text, storage_folder(storage))
    if isinstance(found, Path):
        return adapter_of_folder(found)
    number = best_number(found.folder, found.metric) if found.number is None else found.number
    return adapter_of_trial(found.folder, number)


def confirmed_answer(text: str, storage: Path | None) -> str:
    """What `adaptertune confirm` found for the search of an adapter, as a sentence; empty if nothing."""
    from analysis.ablation.confirmed import confirmation_of  # statistics

    found = find_trained(text, storage_folder(storage))
    confirmed = None if isinstance(found, Path) else confirmation_of(found.folder.absolute())
    return "" if confirmed is None else confirmed.answer


def find_baseline(text: str, storage: Path | None) -> TrainedAdapter:
    """The pretrained baseline of a trained adapter, an experiment or an experiment file."""
    if Path(text).is_file():
        return pretrained_baseline(load_experiment(text))
    try:
        found = find_trained(text, storage_folder(storage))
    except StorageError:
        if find_shipped(text) is None:
            raise
        return pretrained_baseline(load_experiment(text))
    if isinstance(found, Path):
        return pretrained_baseline(load_run_file(found / EXPERIMENT))
    return pretrained_baseline(experiment_of(read_history(found.folder).header))
