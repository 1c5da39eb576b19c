"""The learning rates of trials, by the experiment that a record describes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pydantic import JsonValue

from tuning.ledger.header import experiment_of
from tuning.ledger.records import ExperimentRecord

Rates = Callable[[Mapping[str, JsonValue]], dict[str, float]]
"""From the parameters of a trial to the learning rates at which it trains, of those that are scaled."""


def recorded_rates(header: ExperimentRecord) -> Rates:
    """The rates that the space of the experiment scales. Raises LedgerError if it cannot be read."""
    space = header.experiment.get("space")
    domains = (
        [d for listed in space.values() if isinstance(listed, list) for d in listed]
        if isinstance(space, dict)
        else []
    )
    if not any(isinstance(domain, dict) and domain.get("scale_with") for domain in domains):
        return lambda params: {}
    return experiment_of(header).scaled_rates
