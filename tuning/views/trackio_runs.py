"""The record as runs of Trackio: one for each trial, in the experiment's folder."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from trainables.errors import StorageError
from tuning.experiment.spec import Experiment
from tuning.ledger.records import ExperimentRecord
from tuning.views.process_view import ProcessView

FOLDER = "trackio"
_ON_A_SPACE = ("SYSTEM", "SPACE_ID", "SPACE_REPO_NAME")


class TrackioView(ProcessView):
    """A project in the folder `trackio/` of the experiment, written by `trackio_process`."""

    title = "Trackio"
    module = "tuning.views.trackio_process"

    def __init__(self, experiment: Experiment, folder: Path, header: ExperimentRecord, **how: Any) -> None:
        super().__init__(experiment, folder / FOLDER, header, **how)

    def arguments(self) -> list[str]:
        """See `ProcessView`."""
        return [self._experiment.name]

    def environment(self) -> dict[str, str]:
        """See `ProcessView`. Without TRACKIO_DIR, Trackio would write into the home folder; with a bucket
        or a Space in the environment it would ask the Hub for it."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("TRACKIO_") and name not in _ON_A_SPACE
        }
        offline = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}
        return kept | offline | {"TRACKIO_DIR": str(self._folder)}


def require_trackio() -> None:
    """Raise StorageError if the package trackio is not installed."""
    if find_spec("trackio") is None:
        raise StorageError(
            "views.trackio needs a package that is missing; pip install 'adaptertune[trackio]', or remove it"
        )
