"""The end of a search before its number of trials: decided from the record alone, and recorded first."""

from __future__ import annotations

from tuning.experiment.spec import Experiment
from tuning.ledger.recorder import Recorder
from tuning.ledger.records import SearchEndedBy, SearchEndedRecord


class SearchEnd:
    """An `EndOfSearch`. The study asks before each proposal.

    Trials that run go to their end: what they have trained would be lost otherwise.
    """

    def __init__(self, experiment: Experiment, recorder: Recorder) -> None:
        self._search = experiment.search
        self._recorder = recorder

    def reached(self) -> SearchEndedBy | None:
        """Why the search has ended. Records it when it is found out."""
        if self._recorder.history.search_ended is None and (found := self._found()) is not None:
            by, reason = found
            history = self._recorder.history
            self._recorder.record(
                SearchEndedRecord(by=by, reason=reason, trials=len(history.trials), epochs=history.epochs_run)
            )
        ended = self._recorder.history.search_ended
        return None if ended is None else ended.by

    def _found(self) -> tuple[SearchEndedBy, str] | None:
        ran, budget = self._recorder.history.epochs_run, self._search.epochs
        if budget is not None and ran >= budget:
            return SearchEndedBy.EPOCHS, f"the budget of {budget} epochs is used up ({ran:g} were run)"
        return None
