"""What a sampler is built from."""

from __future__ import annotations

from dataclasses import dataclass

import optuna

from tuning.experiment.space import Space


@dataclass(frozen=True)
class Draw:
    """One draw of a configuration.

    seed: of this draw alone.  study: the trials so far.  space: what is drawn from.  search_seed:
    `search.seed`, the same for all draws.
    """

    seed: int
    study: optuna.Study
    space: Space
    search_seed: int
