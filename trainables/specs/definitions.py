"""Which definition of each metric, of the data's fingerprint and of its stopping rules an experiment uses.

A sweep keeps the definitions that it began with, so that all of its values mean the same. The
record holds their numbers; `MEANINGS` says what each number means.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from trainables.specs.base import Spec


class Definitions(Spec):
    """The number of each definition; those of a new experiment are the defaults."""

    dice: Literal[1, 2] = 2
    iou: Literal[1, 2] = 2
    coco: Literal[1, 2] = 2
    hub: Literal[1, 2] = 2
    head: Literal[1, 2] = 2
    robustness: Literal[1, 2] = 2
    fingerprint: Literal[1, 2] = 2
    frozen: Literal[1, 2] = 2
    pixels: Literal[1, 2] = 2
    stopping: Literal[1, 2, 3] = 3

    @property
    def with_floors(self) -> bool:
        """Whether floors are recorded, and with them worst classes and all COCO metrics by class."""
        return self.robustness >= 2

    @property
    def by_content(self) -> bool:
        """Whether fingerprints are of the files' content, not of their sizes and modification times."""
        return self.fingerprint >= 2

    def of_metric(self, name: str) -> tuple[str, int] | None:
        """The definition behind a metric's name, as (field, number): ("dice", 2) for `dice@stain`.

        None for a metric that every definition computes in the same way: `loss`, `soft_dice`, `dice/cat`.
        """
        whole, slash, _ = name.partition("/")
        base = whole.partition("@")[0]
        if base in ("dice", "iou"):
            return None if slash else (base, getattr(self, base))
        if base == "robustness":
            return base, self.robustness
        return ("coco", self.coco) if base.startswith(("map", "mar")) else None

    def differs(self, metric: str, other: Definitions, *, main: str | None = None) -> str | None:
        """How the meaning of `metric` here differs from its meaning under `other`, in words; None if equal.

        main: the task's main metric, which robustness is computed from.
        """
        names = [metric]
        if metric.partition("@")[0] == "robustness" and main is not None:
            names.append(main)
        for name in names:
            here, there = self.of_metric(name), other.of_metric(name)
            if here is not None and there is not None and here != there:
                (key, ours), (_, theirs) = here, there
                return (
                    f'{key} is defined as "{MEANINGS[key][ours]}" here and as "{MEANINGS[key][theirs]}" there'
                )
        return None


BEFORE = Definitions.model_validate(dict.fromkeys(Definitions.model_fields, 1))
"""The definitions of every experiment whose record names none."""


def complete(named: Mapping[str, Any]) -> dict[str, Any]:
    """A record's definitions by name, not yet checked; one that it does not name is the first."""
    return BEFORE.model_dump() | dict(named)


MEANINGS: Mapping[str, Mapping[int, str]] = {
    "dice": {
        1: "mean over all classes, the background included",
        2: "mean over the foreground classes",
    },
    "iou": {
        1: "mean over all classes, the background included",
        2: "mean over the foreground classes",
    },
    "coco": {
        1: "true boxes rounded to single precision",
        2: "true boxes in double precision, as annotated",
    },
    "hub": {
        1: "boxes of a hub data set are [x0, y0, x1, y1]",
        2: "boxes of a hub data set are as data.hub.boxes says, or as areas and sizes show",
    },
    "head": {
        1: "of a segmentation checkpoint: kept if it has the data's classes in their order, else new",
        2: "matched by the names of classes",
    },
    "robustness": {
        1: "shifted ÷ in domain",
        2: "(shifted − its floor) ÷ (in domain − its floor)",
    },
    "fingerprint": {
        1: "names, sizes and modification times of the files; content of COCO JSON",
        2: "names and content of the files, wherever they are",
    },
    "frozen": {
        1: "of what is frozen, layers with running statistics are in evaluation mode in training",
        2: "all that is frozen is in evaluation mode in training",
    },
    "pixels": {
        1: "images are resized bilinearly",
        2: "images are resized with the interpolation of the checkpoint's processor",
    },
    "stopping": {
        1: "asha and median stop no trial that equals their cutoff, as in Ray Tune; a report that skips rungs"
        " is followed by comparisons at the lower ones",
        2: "trials that equal a cutoff are put in order by a hash of their numbers; a report that skips rungs"
        " counts only at the highest rung reached",
        3: "as 2; a trial that a rung let through is compared there again with the best"
        " n ÷ ((1 + factor) ÷ 2), no longer with the best n ÷ factor",
    },
}
"""What each number means, by the fields of `Definitions`."""
