"""Adds the configurations of users to a sweep: recorded first, then proposed before any other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainables.errors import StorageError
from tuning.experiment.additions import check_addition
from tuning.experiment.space import config_hash
from tuning.experiment.spec import Experiment
from tuning.ledger.recorder import Recorder
from tuning.ledger.records import AddedRecord
from tuning.ledger.requests import AddRequest

if TYPE_CHECKING:
    from tuning.search.study import Study


class Additions:
    """Adds configurations to a sweep."""

    def __init__(self, experiment: Experiment, recorder: Recorder, study: Study) -> None:
        self._experiment = experiment
        self._recorder = recorder
        self._study = study

    def add(self, request: AddRequest) -> None:
        """Add a configuration. Raises ExperimentFileError for one that the space does not hold, StorageError
        for one that is there already.
        """
        history = self._recorder.history
        params = check_addition(self._experiment, request.params)
        key = config_hash(params)
        if (tried := history.trial_of(key)) is not None:
            raise StorageError(f"trial {tried} has the configuration to be added already")
        if any(added.hash == key for added in history.added):
            raise StorageError("the configuration was added before, and waits for its turn")
        record = AddedRecord(params=params, hash=key, of=request.of, by=request.by, asked=request.time)
        self._recorder.record(record)
        self._study.add(record)
