"""Measures what packing gains, on steps of trials that are thrown away."""

from __future__ import annotations

import torch

from trainables.packing.capacity import lanes, with_gain
from trainables.packing.gain import MOST_ROUNDS
from trainables.packing.group import group_of
from trainables.packing.pack import PackEngine
from trainables.preparation import prepare_workload
from trainables.specs.pack import Packing, WhyLanes
from trainables.specs.trial import TrialConfig
from trainables.specs.workload import Workload
from trainables.training.engine import Engine
from trainables.training.state import TrialState

SLOW_S = 4.0
"""If a step of all trials takes longer, one of two trials is timed: it shows nearly as much."""


def measure_packing(
    workload: Workload, config: TrialConfig, *, threads: int, asked: int | None, most: int
) -> Packing:
    """How many trials like `config` a worker takes at once, and what that gains.

    asked: `resources.packing`, if it is a number.  most: how many trials a worker can get. Raises what a
    trial raises.
    """
    torch.set_num_threads(threads)
    engine = Engine(workload, prepare_workload(workload))
    pack, group = PackEngine(engine), group_of(config)
    assert group is not None
    states = [engine.start(config)]
    if asked is None:
        found = lanes(group, states[0], pack, threads=threads)
    else:
        found = Packing(group=group, lanes=asked, why=WhyLanes.ASKED)
    count = min(found.lanes, most)
    if count > 1:
        step_s = min(_step_s(pack, states) for _ in range(2))
        if count * step_s > SLOW_S:
            count = 2
        states += [engine.start(config) for _ in range(count - 1)]
        for _ in range(2 * MOST_ROUNDS + 1):
            _step_s(pack, states)
            if group in pack.gains or group in pack.limits:
                break
    if (limit := pack.limits.get(group)) is not None:
        return found.model_copy(update={"lanes": limit, "why": WhyLanes.OUT_OF_MEMORY})
    return with_gain(found, pack.gains[group]) if group in pack.gains else found


def _step_s(pack: PackEngine, states: list[TrialState]) -> float:
    for state in states:
        state.step = 0  # so that few images do not end the schedule
    return pack.timed_step(states)
