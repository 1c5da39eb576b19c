"""How many trials a worker should advance at once.

The number decides which trials a search proposes before it has seen others, so it depends on nothing that
differs from one run to the next: a trial's configuration, the number of threads, and the memory, where that
is too small. How fast packs are is measured, and decides only how steps are taken (see `gain`).
"""

from __future__ import annotations

from trainables.packing.gain import Gain
from trainables.packing.lane_memory import bytes_for_packing
from trainables.packing.pack import PackEngine
from trainables.specs.pack import Packing, WhyLanes
from trainables.training.state import TrialState

IMAGES_PER_THREAD = 128
"""Images in flight on each thread of a CPU, from which on larger batches gain less than a tenth: measured
with LoRA on the embedded backbones, see `benchmarks/packed_step.py`."""
MOST_LANES = 16
MEMORY_OF_A_STEP = 2
"""How many times the memory kept for the backward pass a step may need at its peak."""


def lanes(group: str, state: TrialState, pack: PackEngine, *, threads: int) -> Packing:
    """How many trials like this one, of that group, a worker should advance at once.

    On a CPU as many as have 128 images in flight per thread, on a GPU 16; fewer where memory is short, and at
    most 16. The trial is looked at and left as it was.
    """
    most, why = MOST_LANES, WhyLanes.MOST
    if pack.device.type == "cpu":
        most, why = most_in_flight(state.config.batch_size, threads=threads)
    if most == 1:
        return Packing(group=group, lanes=1, why=why)
    one = pack.bytes_of_lane(state)
    if one is None:
        return Packing(group=group, lanes=1, why=WhyLanes.DIFFERS)
    there = bytes_for_packing(pack.device, threads=threads)
    fit = most if there is None else within(there, one)
    if fit < most:
        most, why = fit, WhyLanes.MEMORY
    return Packing(group=group, lanes=most, why=why, lane_mb=one / 2**20)


def with_gain(packing: Packing, gain: Gain) -> Packing:
    """The same number of trials, with what it gains."""
    times = {"together_ms": 1000 * gain.together_s, "alone_ms": 1000 * gain.alone_s}
    return packing.model_copy(update={"timed": gain.lanes, **times})


def most_in_flight(batch_size: int, *, threads: int) -> tuple[int, WhyLanes]:
    """How many trials a CPU should advance at once if memory suffices."""
    wanted = max(1, IMAGES_PER_THREAD * threads // batch_size)
    return (wanted, WhyLanes.IMAGES) if wanted <= MOST_LANES else (MOST_LANES, WhyLanes.MOST)


def within(there: int, one: int) -> int:
    """The lanes of `one` byte each that fit into `there` bytes: at least 1, and a power of two.

    A power of two, so that a little more or less free memory does not change the number.
    """
    fit = there // max(1, MEMORY_OF_A_STEP * one)
    return 1 << (fit.bit_length() - 1) if fit > 1 else 1
