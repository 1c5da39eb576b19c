"""What a model card tells: recorded facts of a trained model, and those of its export."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

VALIDATION = "validation images"
"""The key of the validation images' floors, with ` of NAME` added in a domain, whose name has no blank."""


@dataclass(frozen=True)
class Card:
    """The recorded facts about a trained model.

    metrics: on validation images, at `epoch`.  test: on test images, by domain, `in domain` first.
    floors: what the best constant predictor reaches, by metric; by the keys of `test`, and `VALIDATION`
        (of a domain: `VALIDATION of NAME`).
    collapsed: whether the objective is no better than a constant predictor's; None without a floor.
    counts: images by split.  file: its configuration as an experiment file.
    reproduce: the command that trains it again.  environment: hardware and software that trained it.
    confirmed: what repeating the best trials of its search over new seeds found, as a sentence; or empty.
    """

    title: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    epoch: float | None = None
    test: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    floors: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    collapsed: bool | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    file: str = ""
    reproduce: str = ""
    environment: Mapping[str, Any] = field(default_factory=dict)
    confirmed: str = ""


@dataclass(frozen=True)
class ExportFacts:
    """The facts that the export determines."""

    whole: bool
    base: str | None
    revision: str | None
    method: str | None
    segments: bool
    difference: float
