"""The record as runs of MLflow: one for each trial, in a SQLite store in the experiment's folder."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from trainables.errors import StorageError
from tuning.experiment.spec import Experiment
from tuning.ledger.records import ExperimentRecord
from tuning.views.process_view import ProcessView

FOLDER = "mlflow"
DATABASE = "mlflow.db"


class MlflowView(ProcessView):
    """`mlflow/mlflow.db` in the experiment's folder, written by `mlflow_process`."""

    title = "MLflow"
    module = "tuning.views.mlflow_process"

    def __init__(self, experiment: Experiment, folder: Path, header: ExperimentRecord, **how: Any) -> None:
        super().__init__(experiment, folder / FOLDER, header, **how)

    def arguments(self) -> list[str]:
        """See `ProcessView`."""
        return [self._experiment.name]

    def environment(self) -> dict[str, str]:
        """See `ProcessView`. The store is ours alone, so a user's settings for MLflow do not apply."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
        return kept | {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}


def require_mlflow() -> None:
    """Raise StorageError if MLflow or what its SQLite store needs is not installed."""
    if find_spec("mlflow") is None or find_spec("alembic") is None:
        raise StorageError(
            "views.mlflow needs a package that is missing; pip install 'adaptertune[mlflow]', or remove it"
        )
