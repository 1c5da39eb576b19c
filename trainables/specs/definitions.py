"""Which definition of each metric, and of the data's fingerprint, an experiment uses.

A sweep keeps the definitions that it began with, so that all of its values mean the same. The
record holds their numbers; `MEANINGS` says what each number means.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from trainables.specs.base import Spec


class Definitions(Spec):
    """The number of each definition; those of a new experiment are the defaults."""

    dice: Literal[1, 2] = 1
    iou: Literal[1, 2] = 1
    coco: Literal[1, 2] = 2
    head: Literal[1, 2] = 2
    robustness: Literal[1, 2] = 1
    fingerprint: Literal[1, 2] = 1


BEFORE = Definitions(dice=1, iou=1, coco=1, head=1, robustness=1, fingerprint=1)
"""The definitions of every experiment whose record names none."""

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
    "head": {
        1: "of a segmentation checkpoint: kept if it has the data's classes in their order, else new",
        2: "matched by the names of classes",
    },
    "robustness": {
        1: "shifted ÷ in domain",
        2: "(shifted − its floor) ÷ (in domain − its floor)",
    },
    "fingerprint": {
        1: "of mask folders: names, sizes and modification times of the files",
        2: "content of the files",
    },
}
"""What each number means, by the fields of `Definitions`."""
