"""Adds the trials that users ask for to a sweep: recorded first, then proposed before any other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import JsonValue

from trainables.errors import StorageError
from tuning.checkpoints.parents import check_extension, check_warm, copy_parent
from tuning.experiment.additions import check_addition
from tuning.experiment.space import config_hash
from tuning.ledger.parent import Parent, child_hash
from tuning.ledger.records import AddedRecord
from tuning.ledger.requests import AddRequest, ExtendRequest, Request
from tuning.ledger.storage import checkpoint_root
from tuning.ranking.finalists import kept_epoch
from tuning.run.composition import Composition

if TYPE_CHECKING:
    from tuning.search.study import Study


class Additions:
    """Adds trials to a sweep."""

    def __init__(self, of: Composition, study: Study) -> None:
        self._experiment = of.experiment
        self._folder = of.folder
        self._root = checkpoint_root(of.experiment, of.folder)
        self._recorder = of.recorder
        self._study = study

    def add(self, request: AddRequest) -> None:
        """Add a configuration, which may begin with the best weights of the trial that it was copied from.

        Raises ExperimentFileError for one that the space does not hold, StorageError for one that is there
        already, or whose parent has no weights for it.
        """
        history = self._recorder.history
        params = check_addition(self._experiment, request.params)
        parent = None
        if request.warm:
            if request.of is None:
                raise StorageError("a trial begins warm only as the copy of another one")
            check_warm(self._experiment, self._folder, history, request.of, params)
            file = copy_parent(self._root, request.of, state=False, durable=self._experiment.durable)
            epoch = kept_epoch(self._experiment, history.trials[request.of])
            parent = Parent(trial=request.of, state=False, file=file, epoch=epoch)
        self._record(request, params, request.of, parent)

    def extend(self, request: ExtendRequest) -> None:
        """Continue an ended trial for more epochs, as a trial of its own.

        Raises StorageError if it cannot be continued, or was before; AdaptertuneError for a wrong number.
        """
        number, history = request.trial, self._recorder.history
        check_extension(self._experiment, self._folder, history, number, request.epochs)
        file = copy_parent(self._root, number, state=True, durable=self._experiment.durable)
        parent = Parent(trial=number, state=True, file=file, epochs=request.epochs)
        self._record(request, history.trials[number].params, number, parent)

    def _record(
        self, request: Request, params: Mapping[str, JsonValue], of: int | None, parent: Parent | None
    ) -> None:
        history = self._recorder.history
        key = config_hash(params) if parent is None else child_hash(params, parent)
        what = "configuration" if parent is None else "configuration with that beginning"
        if (tried := history.trial_of(key)) is not None:
            raise StorageError(f"trial {tried} has the {what} to be added already")
        if any(added.hash == key for added in history.added):
            raise StorageError(f"the {what} was added before, and waits for its turn")
        record = AddedRecord(
            params=dict(params), hash=key, of=of, by=request.by, asked=request.time, parent=parent
        )
        self._recorder.record(record)
        self._study.add(record)
