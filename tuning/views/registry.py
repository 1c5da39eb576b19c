"""The views that an experiment configures."""

from __future__ import annotations

from pathlib import Path

from tuning.experiment.sections.views import JOURNAL, NO_STUDY
from tuning.experiment.spec import Experiment
from tuning.ledger.records import ExperimentRecord
from tuning.views.view import View


def views_of(experiment: Experiment, folder: Path, header: ExperimentRecord) -> list[View]:
    """The views of an experiment. Raises StorageError if the package of a view is missing."""
    from tuning.tables.parquet_parts import FOLDER, Tables
    from tuning.views.mirror import with_mirror

    asked = experiment.views
    views: list[View] = [with_mirror(Tables(folder, experiment, header), experiment, folder, folder / FOLDER)]
    if asked.optuna == JOURNAL:
        from tuning.views.optuna_journal import JournalStudyStorage
        from tuning.views.optuna_study import StudyView

        views.append(StudyView(experiment, JournalStudyStorage(folder)))
    elif asked.optuna != NO_STUDY:
        from tuning.views.optuna_database import DatabaseStudyStorage, require_driver
        from tuning.views.optuna_study import StudyView

        require_driver(asked.optuna)
        views.append(StudyView(experiment, DatabaseStudyStorage(asked.optuna)))
    if asked.tensorboard:
        from tuning.views.tensorboard import TensorBoardView

        views.append(TensorBoardView(folder))
    if asked.wandb is not None:
        from tuning.views.wandb_runs import WandbView, require_wandb

        require_wandb()
        views.append(WandbView(experiment, folder, header))
    if asked.mlflow:
        from tuning.views.mlflow_runs import MlflowView, require_mlflow

        require_mlflow()
        views.append(MlflowView(experiment, folder, header))
    if asked.trackio:
        from tuning.views.trackio_runs import TrackioView, require_trackio

        require_trackio()
        views.append(TrackioView(experiment, folder, header))
    return views
