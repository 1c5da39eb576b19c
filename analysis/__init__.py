"""Reads experiments: which configuration is best, and what the settings did.

import adaptertune

pets = adaptertune.open("pets")
pets.best(k=5, where="adapter = 'lora'")
pets.query("SELECT lora.rank, avg(value) FROM trials GROUP BY ALL")
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from analysis.api import Results

__all__ = ["open"]


def open(name: str | Path, storage: str | Path | None = None) -> Results:
    """The results of an experiment by its name or folder, or of several, as `pets-*`.

    storage: the folder of all experiments; `ADAPTERTUNE_STORAGE`, else `./experiments`, when absent.
    Raises StorageError, which names the experiments there are, and LedgerError for a damaged record.
    """
    from analysis.api import Results
    from tuning.ledger.storage import find_experiments, storage_folder

    place = storage_folder(storage)
    return Results(tuple(folder.absolute() for folder in find_experiments(str(name), place)))
