"""What a dry run says of packs: how many trials a worker takes at once, what that gains, who trains alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trainables.errors import reason_of
from trainables.packing.dry_run import measure_packing
from trainables.packing.group import group_of
from trainables.specs.trial import TrialConfig
from trainables.training.dry_run import DryRun
from tuning.experiment.spec import Experiment
from tuning.run.estimate import first_packed, trained_alone
from tuning.run.packs.limits import limits_of, trials_at_once

MANY = 10**6


def pack_lines(
    experiment: Experiment, measured: Sequence[tuple[TrialConfig, DryRun]], *, workers: int
) -> Iterator[str]:
    """Measure a configuration that can be packed, and say what will happen.

    workers: how many run at once on this machine.
    """
    resources = experiment.resources
    limits = limits_of(resources, experiment.search, experiment.scheduler, trials=experiment.trials_expected)
    if limits is None:
        off = resources.packing == "off"
        shared = f", as several workers share a GPU (resources.gpus: {resources.gpus})"
        sizes = ", as the images of trials have different sizes (scheduler.asha.fidelity)"
        why = "" if off else sizes if experiment.scheduler.smaller_images else shared
        yield f"packing off{why}: a worker trains one trial at a time"
        return
    tried = _packed(experiment, measured)
    alone = trained_alone(experiment)
    if tried is not None:
        at_once = trials_at_once(limits, packs=workers, lanes=limits.lanes or MANY, left=limits.trials)
        try:
            found = measure_packing(
                experiment.workload,
                tried,
                threads=resources.threads,
                asked=limits.lanes,
                most=-(-at_once // workers),
            )
        except Exception as error:  # what it says is no part of the sweep
            yield f"packing could not be measured: {reason_of(error)}"
        else:
            yield f"packing {found.told}"
            at_once = trials_at_once(limits, packs=workers, lanes=found.lanes, left=limits.trials)
            if at_once < workers * found.lanes:
                yield f"        {at_once} in all at once{_bound(experiment, at_once)}"
    for reason in alone:
        yield f"        alone in their steps: {reason}"


def _packed(experiment: Experiment, measured: Sequence[tuple[TrialConfig, DryRun]]) -> TrialConfig | None:
    """The configuration to measure: one that ran before, or else another one, as those were the costliest."""
    of_packs = [(config, run) for config, run in measured if group_of(config) is not None]
    if not of_packs:
        return first_packed(experiment)
    return next((config for config, run in of_packs if run.error is None), None)


def _bound(experiment: Experiment, at_once: int) -> str:
    if at_once == experiment.resources.concurrent:
        return ", as resources.concurrent says"
    if at_once == experiment.trials_asked:
        return ", which are all trials"
    return ": a quarter of the trials, as the search or the scheduler learns from those that have run"
