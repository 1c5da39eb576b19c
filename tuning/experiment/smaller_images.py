"""The image sizes of low rungs, as a function of the epoch: from `scheduler.asha` and the most epochs."""

from __future__ import annotations

import math

from trainables.specs.smaller_images import SmallerImages
from trainables.wording import plural
from tuning.experiment.sections.rungs import A_LITTLE, rungs_from
from tuning.experiment.sections.scheduler import AshaSpec

SHARES = (0.5, math.sqrt(0.5))
"""The sides of smaller images as shares of the model's own, if the file gives no sizes: each step doubles
the number of pixels."""


def smaller_images(asha: AshaSpec | None, max_epochs: float) -> SmallerImages | None:
    """The sizes of the images in the first epochs; None for one size in all epochs.

    The highest rung has the model's own size, the rung below it the next smaller one, and so on; the rungs
    that are left have the smallest. Sizes change between epochs: at the first whole epoch from a rung on.

    max_epochs: the most epochs that any trial runs.
    """
    if asha is None or asha.fidelity is None or smaller_fault(asha, max_epochs) is not None:
        return None
    sizes = asha.fidelity.resolution
    until = _changes(asha, max_epochs)
    if sizes is not None:
        return SmallerImages(until=until, sizes=sizes)
    return SmallerImages(until=until, shares=SHARES[-len(until) :])


def smaller_fault(asha: AshaSpec, max_epochs: float) -> str | None:
    """Why the rungs have no room for the sizes; None if they have."""
    rungs = _rungs(asha, max_epochs)
    asked = 2 if asha.fidelity is None or (given := asha.fidelity.resolution) is None else len(given)
    named = ", ".join(f"{rung:g}" for rung in rungs)
    if len(rungs) < asked:
        return (
            f"needs a rung for each of {asked} sizes, and {plural(max_epochs, 'epoch')} have"
            f" {plural(len(rungs), 'rung')} ({named}); use fewer sizes, a smaller grace_epochs or"
            " reduction_factor, or more epochs"
        )
    changes = _changes(asha, max_epochs)
    if len(set(changes)) < len(changes) or changes[-1] >= max_epochs:
        return (
            f"changes sizes between whole epochs, and the rungs {named} are too near to each other for"
            f" {len(changes) + 1} sizes; use a larger grace_epochs or reduction_factor, or fewer sizes"
        )
    return None


def _rungs(asha: AshaSpec, max_epochs: float) -> tuple[float, ...]:
    if max_epochs < asha.grace_epochs:
        return ()
    return rungs_from(asha.grace_epochs, asha.reduction_factor, max_epochs)


def _changes(asha: AshaSpec, max_epochs: float) -> tuple[int, ...]:
    """The whole epochs from which on images are larger."""
    rungs = _rungs(asha, max_epochs)
    assert asha.fidelity is not None
    sizes = asha.fidelity.resolution
    smaller = min(len(SHARES), len(rungs) - 1) if sizes is None else len(sizes) - 1
    return tuple(math.ceil(rung - A_LITTLE) for rung in rungs[len(rungs) - 1 - smaller : -1])
