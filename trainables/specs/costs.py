"""The costs of a trial that a sweep may weigh against quality; less is better of each."""

from __future__ import annotations

from enum import StrEnum


class CostMetric(StrEnum):
    """The name of a cost in `objective` and `constraints`."""

    PARAMETERS = "parameters"
    """Parameters that train, or will: of adapter, head and backbone."""
    MACS = "macs"
    """Multiplications with an addition, of a forward pass over one image; see `trainables.training.macs`."""
    PEAK_MB = "peak_mb"
    """The most memory that a report of the trial found in use, in MB."""


MEASURED_LATER = "latency_ms"
"""A cost that is known only after the search, so that no search can weigh it."""
COSTS = frozenset(cost.value for cost in CostMetric)
"""The names of all costs that a search can weigh."""
