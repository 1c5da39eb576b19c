"""The median rule: stops a trial that is worse than the median of the others' running averages."""

from __future__ import annotations

import math

from ray.tune.schedulers import MedianStoppingRule

from trainables.specs.workload import Direction
from tuning.experiment.sections.scheduler import MedianSpec
from tuning.ledger.records import StoppedBy
from tuning.scheduling.ray_rule import RayRule


def build_median(spec: MedianSpec, direction: Direction, *, max_epochs: float) -> RayRule:
    """Build Ray's median stopping rule (Golovin et al. 2017, Google Vizier) in epochs."""
    return RayRule(
        MedianStoppingRule(
            time_attr="epoch",
            metric="objective",
            mode=direction.value,
            grace_period=spec.grace_epochs,
            min_samples_required=spec.min_trials,
            # Below that many trials the rule would pause one, and Ray forgets a paused state.
            min_time_slice=math.inf,
        ),
        StoppedBy.MEDIAN,
    )
