"""Words of designed experiments that the command line takes and the analysis knows. Nothing is imported."""

from __future__ import annotations

from enum import StrEnum


class StudyName(StrEnum):
    """The ready ablations."""

    RANK = "rank"
    """The adapter's rank, from a quarter of the base's to four times that."""
    FREEZING = "freezing"
    """What trains beside the adapter, in all five modes."""
    ADAPTERS = "adapters"
    """The adapter families, each at the rank that comes nearest to the base's number of parameters."""
    TARGETS = "targets"
    """The layers that adapters sit in."""
    DATA = "data"
    """The share of the training images."""


class Images(StrEnum):
    """Which images figures are of."""

    TEST = "test"
    VALIDATION = "validation"


class Writing(StrEnum):
    """How a result is written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    MARKDOWN = "markdown"
