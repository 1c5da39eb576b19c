"""The goals of the experiment that a record describes."""

from __future__ import annotations

from tuning.experiment.goals import Goals
from tuning.ledger.header import experiment_of
from tuning.ledger.records import ExperimentRecord


def recorded_goals(header: ExperimentRecord) -> Goals | None:
    """Its objectives and constraints; None if it has one objective and nothing else.

    Raises LedgerError if this version cannot read the experiment.
    """
    if not header.experiment.get("further") and not header.experiment.get("constraints"):
        return None
    return Goals.of(experiment_of(header))
