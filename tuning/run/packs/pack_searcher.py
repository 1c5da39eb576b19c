"""Ray Tune's `Searcher` whose trials are packs: opens as many as fit on the cluster."""

from __future__ import annotations

from typing import Any

from ray.tune.search import Searcher

from tuning.run.packs.packs import Packs
from tuning.run.ray_searcher import NotKept


class PackSearcher(NotKept, Searcher):  # type: ignore[misc]
    """Gives Ray a pack for each place that is free. `PackScheduler` gives the packs their further trials."""

    def __init__(self, packs: Packs) -> None:
        super().__init__()
        self._packs = packs
        self._first: dict[str, Any] | None = None
        self._by_id: dict[str, int] = {}

    def begin(self) -> bool:
        """Return whether there is a trial to run, and keep its pack for Ray: its `fit` fails without any."""
        self._first = self._packs.open()
        return self._first is not None

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        """Tell Ray not to apply its own fixed limit."""
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the next pack; None while there is no place, FINISHED when no trial is left."""
        pack, self._first = self._first, None
        if pack is None:
            if self._packs.full():
                return None
            pack = self._packs.open()
        if pack is None:
            # After FINISHED Ray asks for no more, but the trials of a pack that dies run again.
            return None if self._packs.live else str(Searcher.FINISHED)
        self._by_id[trial_id] = pack["trial"]
        return pack

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Free the pack's place."""
        if (number := self._by_id.pop(trial_id, None)) is not None:
            self._packs.close(number)

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: a searcher is rebuilt from the ledger."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing, see `save`."""
