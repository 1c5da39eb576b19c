"""Names of predefined ablations and of image sets, shared by the analysis and the command line."""

from __future__ import annotations

from enum import StrEnum


class StudyName(StrEnum):
    """The predefined ablations."""

    RANK = "rank"
    """The adapter's rank, from a quarter of the base's rank to four times that."""
    FREEZING = "freezing"
    """Which parts of the model train in addition to the adapter, in all five modes."""
    ADAPTERS = "adapters"
    """The adapter families, each at the rank whose number of parameters is nearest to the base's."""
    TARGETS = "targets"
    """The layers that have adapters."""
    DATA = "data"
    """The share of the training images."""


class Images(StrEnum):
    """The images on which metrics are measured."""

    TEST = "test"
    VALIDATION = "validation"
