"""What driver and workers import while Ray starts, so that the first trial need not wait for it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module

from cluster.accelerators import count_likely_gpus
from cluster.capacity import Needs, Node, count_slots
from cluster.forked.start import can_fork
from cluster.paused_collector import collector_paused
from cluster.preloading import Preload
from cluster.usable_cpus import count_usable_cpus
from tuning.run.composition import Composition
from tuning.run.proposed_jobs import PACKED, TRAINABLE

FOR_FIT = ("tuning.run.ray_scheduler", "tuning.run.ray_searcher", "tuning.search.study", "cluster.ray_worker")
"""What the driver needs once Ray has started; they import Ray Tune and Optuna."""
FOR_RAY = ("cluster.ray_worker",)
"""What each worker of Ray needs."""
FOR_TRAINING = ("trainables.library_imports", PACKED.partition(":")[0])
"""What training needs until the first step, in this order, without Ray."""
FOR_TRAINING_ALONE = (FOR_TRAINING[0], TRAINABLE.partition(":")[0])
"""The same for a worker that trains one trial at a time."""
FOR_TRIALS = (*FOR_RAY, *FOR_TRAINING)
"""What a worker needs that trains itself."""
FOR_GPU_TRIALS = (*FOR_RAY, "torch")
"""What a worker imports before it has its GPU: a library that counts GPUs when it is imported would see
all of them, and the process would then not see the one that Ray assigns to it later. torch does not
count them."""


def import_in_background(modules: Sequence[str]) -> threading.Thread:
    """Import modules in a thread. One that cannot be imported raises its error where it is used."""

    def work() -> None:
        for module in modules:
            with suppress(Exception), collector_paused():
                import_module(module)

    # A daemon does not hold up an interrupted process.
    thread = threading.Thread(target=work, name="imports", daemon=True)
    thread.start()
    return thread


def preload_for(of: Composition) -> Preload:
    """What the workers of a sweep import when they start; nothing for a trainable that the caller gave."""
    if of.trainable is not None:
        return Preload((), 0)
    resources = of.experiment.resources
    found = count_likely_gpus()
    gpus = resources.gpus_of_worker(any_there=found > 0)
    slots = count_slots([Node(cpus=count_usable_cpus(), gpus=found)], Needs(resources.cpus, gpus))
    at_once = min(slots, resources.concurrent or slots, of.experiment.search.trials or slots)
    if gpus:
        return Preload(FOR_GPU_TRIALS, at_once)
    modules = FOR_TRAINING if resources.packing != "off" else FOR_TRAINING_ALONE
    if can_fork():
        return Preload(FOR_RAY, at_once, forked=modules)
    return Preload((*FOR_RAY, *modules), at_once)
