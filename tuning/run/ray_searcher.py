"""Ray Tune's `Searcher` over our study: gives Ray the configurations to try.

The study learns what trials report, and how they end, from the scheduler (`tuning.run.ray_scheduler`):
Ray does not pass the last report of a trial that is stopped to a searcher.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from ray.tune.search import Searcher

from cluster.capacity import Capacity, Needs
from trainables.errors import AdaptertuneError
from tuning.ledger.outcomes import Outcome
from tuning.ledger.recorder import Recorder
from tuning.run.room.worker_needs import reserving
from tuning.search.proposal import NoProposal, Proposal
from tuning.search.study import Study

Configure = Callable[[Proposal], dict[str, Any]]
"""Turns a proposal into the configuration that Ray passes to the actor, with the number as `trial`.

Raises AdaptertuneError for one that cannot be tried; the trial then fails with that reason.
"""


class NotKept:
    """For objects that Ray pickles to restore a sweep: pickled without state, as the ledger restores it."""

    def __getstate__(self) -> dict[str, object]:
        return {}

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self


class OptunaSearcher(NotKept, Searcher):  # type: ignore[misc]
    """Asks the study for as many trials as the cluster runs at once, a number that may change meanwhile."""

    def __init__(
        self,
        study: Study,
        recorder: Recorder,
        *,
        configure: Configure,
        capacity: Capacity,
    ) -> None:
        super().__init__()
        self._study = study
        self._recorder = recorder
        self._configure = configure
        self._capacity = capacity
        self._live: dict[str, Needs] = {}
        self._first: dict[str, Any] | str | None = None

    def begin(self) -> bool:
        """Return whether there is a trial to run, and keep it for Ray: its `fit` fails without any."""
        self._first = self._next()
        return self._first is None or isinstance(self._first, dict)

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        """Tell Ray not to apply its own fixed limit."""
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the next configuration; None while the cluster is full, FINISHED when none is left."""
        if self._capacity.full(self._live.values()):
            return None
        found, self._first = self._first or self._next(), None
        if isinstance(found, dict):
            self._live[trial_id] = needs = self._capacity.needs
            return reserving(found, needs)
        return found

    def _next(self) -> dict[str, Any] | str | None:
        while True:
            proposal = self._study.propose()
            if proposal is NoProposal.WAIT:
                return None
            if not isinstance(proposal, Proposal):
                # After FINISHED Ray asks for no more, but a trial must be proposed again if its worker dies,
                # and the user may add one as long as others run.
                return None if self._live else str(Searcher.FINISHED)
            config = self._begin(proposal)
            if config is not None:
                return config

    def _begin(self, proposal: Proposal) -> dict[str, Any] | None:
        number = proposal.number
        self._recorder.record(proposal.started())
        if proposal.reuses is not None:
            self._recorder.end(number, Outcome.REUSED, reuses=proposal.reuses)
            return None
        try:
            return self._configure(proposal)
        except AdaptertuneError as error:
            self._recorder.end(number, Outcome.FAILED, str(error))
            self._study.tell(number, Outcome.FAILED, None, str(error))
            return None

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Free the trial's place."""
        self._live.pop(trial_id, None)

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: a searcher is rebuilt from the ledger."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing, see `save`."""
