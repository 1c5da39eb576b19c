"""Reads the record: which configuration is best, and what the settings did.

import analysis

pets = analysis.open("pets")
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
    """An experiment's record by its name or folder, or several, as `pets-*`.

    storage: where experiments live; `ADAPTERTUNE_STORAGE`, else `./experiments`, when absent.
    Raises StorageError, which names the experiments there are, and LedgerError for a damaged record.
    """
    from analysis.api import Results
    from tuning.ledger.storage import find_experiments, storage_folder

    place = storage_folder(None if storage is None else Path(storage))
    return Results(tuple(folder.absolute() for folder in find_experiments(str(name), place)))
