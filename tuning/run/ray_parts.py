"""Builds Ray Tune's searcher and scheduler for a sweep, whose trials run alone or in packs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from cluster.capacity import Capacity, Node
from trainables.wording import plural
from tuning.experiment.search_notes import search_notes
from tuning.messages import say
from tuning.run.composition import Composition
from tuning.run.control import Control
from tuning.run.packs.limits import Limits, limits_of
from tuning.run.packs.pack_scheduler import PackScheduler
from tuning.run.packs.pack_searcher import PackSearcher
from tuning.run.packs.packs import Packs
from tuning.run.proposed_jobs import Configure, ConfigurePacks
from tuning.run.ray_scheduler import ControlledScheduler, RecordingScheduler
from tuning.run.ray_searcher import OptunaSearcher
from tuning.run.results import Results
from tuning.run.room.worker_needs import WorkerNeeds
from tuning.scheduling.rule import StoppingRule
from tuning.search.study import Study


def build_ray_parts(
    of: Composition,
    study: Study,
    rule: StoppingRule | None,
    control: Control,
    *,
    data: Path,
    nodes: Callable[[], Iterable[Node]],
    needs: WorkerNeeds,
    each_round: Callable[[], None],
) -> tuple[OptunaSearcher | PackSearcher, ControlledScheduler]:
    """The searcher and the scheduler of a sweep.

    data: the folder of prepared data.  needs: what a worker reserves.  each_round: called in each round of
    Ray's loop.
    """
    experiment, resources = of.experiment, of.experiment.resources
    results = Results(rule, of.recorder, study)
    limits = packing_limits(of)
    noun = "trial" if limits is None else "worker"

    def log_capacity(before: int, now: int) -> None:
        change = "joined" if now > before else "left"
        say(f"nodes have {change}: {plural(now, noun)} at once, {before} before")

    capacity = Capacity(nodes, needs, resources.concurrent, changed=log_capacity)
    if limits is None:
        _say_what_it_means(of, capacity())
        return (
            OptunaSearcher(
                study,
                of.recorder,
                configure=Configure(of, data),
                capacity=capacity,
            ),
            RecordingScheduler(
                results, of.recorder, study, control, retries=experiment.retries, each_round=each_round
            ),
        )
    packs = Packs(
        study,
        of.recorder,
        configure=ConfigurePacks(of, data, limits.lanes),
        places=capacity,
        limits=limits,
        folder=of.folder,
    )
    _say_what_it_means(of, packs.at_once())
    scheduler = PackScheduler(results, packs, control, retries=experiment.retries, each_round=each_round)
    return PackSearcher(packs), scheduler


def _say_what_it_means(of: Composition, at_once: int) -> None:
    """Say at the launch what so many trials at once mean for the search."""
    if not of.recorder.history.trials:
        for note in search_notes(of.experiment, at_once):
            say(note)


def packing_limits(of: Composition) -> Limits | None:
    """The limits of packs; None without packs, as with a trainable that takes one trial at a time."""
    experiment = of.experiment
    if of.trainable is not None and not getattr(of.trainable, "takes_packs", False):
        return None
    if experiment.resources.packing != "off" and experiment.resources.shares_a_gpu:
        say("packing is off, as resources.gpus lets several workers share a GPU")
    elif experiment.resources.packing != "off" and experiment.scheduler.smaller_images:
        say("packing is off, as the images of trials have different sizes (scheduler.asha.fidelity)")
    return limits_of(
        experiment.resources,
        experiment.search,
        experiment.scheduler,
        trials=experiment.trials_expected,
    )
