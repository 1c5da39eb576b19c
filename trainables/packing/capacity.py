"""How many trials a worker should advance at once."""

from __future__ import annotations

from trainables.packing.group import group_of
from trainables.specs.trial import TrialConfig
from trainables.training.engine import Engine

IMAGES_PER_THREAD = 64
"""Images in flight on each thread of a CPU, from which on larger batches gain less than a tenth: measured
with LoRA on the embedded backbones, see `benchmarks/packed_step.py`."""
MOST_LANES = 16


def lanes(engine: Engine, config: TrialConfig, *, threads: int) -> int:
    """The number of trials like `config` that a worker should advance at once; at least 1.

    On a CPU as many as have 64 images in flight per thread, at most 16. On a GPU one, as nothing has been
    measured there. One as well for a trial that cannot take its steps together with others.
    """
    if group_of(config) is None or engine.device.type != "cpu":
        return 1
    return max(1, min(MOST_LANES, IMAGES_PER_THREAD * threads // config.batch_size))
