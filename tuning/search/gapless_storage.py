"""Optuna's storage in memory, from which a draw can be taken back without a trace."""

from __future__ import annotations

from typing import Any

from optuna.storages import InMemoryStorage
from optuna.trial import TrialState


class GaplessStorage(InMemoryStorage):  # type: ignore[misc]
    """Keeps the places of trials free of gaps: a trial's place depends only on the trials that were kept.

    Samplers of Optuna use a trial's place as part of a seed, and store the places of other trials. A
    configuration that is drawn and thrown away, as it was tried before, must not move them: a study that is
    built again from the ledger knows nothing of it.
    """

    def recycle(self, trial_id: int) -> None:
        """Empty a running trial; the next `ask` gets it."""
        with self._lock:  # private, as the rest; Optuna 5.0
            empty = self._create_running_trial()
            empty.number, empty._trial_id = self._get_trial(trial_id).number, trial_id
            empty.state, empty.datetime_start = TrialState.WAITING, None
            self._set_trial(trial_id, empty)
            study = self._trial_id_to_study_id_and_number[trial_id][0]
            self._prev_waiting_trial_number[study] = min(self._prev_waiting_trial_number[study], empty.number)

    def restore_attributes(self, study_id: int, attributes: dict[str, Any]) -> None:
        """Replace the system attributes of a study."""
        with self._lock:
            self._studies[study_id].system_attrs = attributes
