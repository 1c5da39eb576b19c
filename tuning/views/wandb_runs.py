"""The record as runs of Weights & Biases: one for each trial, grouped by experiment.

The process (`wandb_process`) runs wandb and reads the API key itself: this module never handles one.
"""

from __future__ import annotations

import json
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from trainables.errors import StorageError
from tuning.experiment.spec import Experiment
from tuning.ledger.records import ExperimentRecord
from tuning.views.process_view import ProcessView

FOLDER = "wandb"


class WandbView(ProcessView):
    """Runs in the folder `wandb/` of the experiment, and on the server if the user is logged in."""

    title = "Weights & Biases"
    module = "tuning.views.wandb_process"
    unfinished = "what is not sent by then is in its folder, and `wandb sync` sends it"

    def __init__(self, experiment: Experiment, folder: Path, header: ExperimentRecord, **how: Any) -> None:
        if experiment.views.wandb is None:
            raise ValueError("the experiment has no views.wandb")
        super().__init__(experiment, folder / FOLDER, header, **how)
        self._spec = experiment.views.wandb

    def arguments(self) -> list[str]:
        """See `ProcessView`."""
        spec = self._spec
        named = {"project": spec.project, "entity": spec.entity, "group": self._experiment.name}
        return [spec.mode.value, json.dumps(named | {"task": self._experiment.task.value})]

    def environment(self) -> dict[str, str]:
        """See `ProcessView`. wandb keeps its logs and caches in the experiment, unless told otherwise."""
        ours = {"WANDB_CACHE_DIR": str(self._folder / "cache"), "WANDB_DATA_DIR": str(self._folder / "data")}
        return ours | os.environ


def require_wandb() -> None:
    """Raise StorageError if the package wandb is not installed."""
    if find_spec("wandb") is None:
        raise StorageError(
            "views.wandb needs a package that is missing; pip install 'adaptertune[wandb]', or remove it"
        )
