"""Every configuration of a finite space, once."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import JsonValue

from tuning.experiment.sections.search import GridSpec
from tuning.experiment.space import Space


def list_grid(spec: GridSpec, space: Space) -> Iterator[dict[str, JsonValue]]:
    """List the configurations of `space` in its own order, those that its conditions allow."""
    return space.grid()
