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
    LATENCY_MS = "latency_ms"
    """Milliseconds of a forward pass over one image, measured as the trial begins."""


COSTS = frozenset(cost.value for cost in CostMetric)
"""The names of all costs that a search can weigh."""
