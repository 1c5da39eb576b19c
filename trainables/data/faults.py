"""What can be wrong with an image, its boxes or its mask, and what is then done about it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

import numpy as np

from trainables.data.sample import Annotations
from trainables.data.specs import FaultRule, FaultRules, Split

SHOWN = 20
"""Faults that a message lists by name before it only counts."""
SLACK = 1.0
"""Pixels by which annotated boxes may pass the border: rounding, not a fault."""


class Fault(StrEnum):
    """The kinds of fault, named as their rules in `FaultRules`."""

    UNREADABLE_IMAGE = "unreadable_image"
    MISSING_FILE = "missing_file"
    BAD_BOX = "bad_box"
    EMPTY_MASK = "empty_mask"
    BAD_MASK = "bad_mask"

    def rule(self, rules: FaultRules) -> FaultRule:
        """What `rules` say about this kind."""
        rule: FaultRule = getattr(rules, self.value)
        return rule


class Action(StrEnum):
    """What became of it."""

    IMAGE_DROPPED = "image dropped"
    BOX_DROPPED = "box dropped"
    BOX_CUT = "box cut to the image"
    IGNORED = "left out"


@dataclass(frozen=True)
class Finding:
    """One fault: where it is, what is wrong, what was done."""

    split: Split
    name: str
    fault: Fault
    action: Action
    detail: str

    def record(self) -> dict[str, str]:
        """The finding as JSON."""
        return {key: str(value) for key, value in asdict(self).items()}


def stopping(findings: Iterable[Finding], rules: FaultRules) -> list[Finding]:
    """Those findings whose rule is to stop."""
    return [f for f in findings if f.fault.rule(rules) is FaultRule.STOP]


def stop_message(findings: Sequence[Finding]) -> str:
    """All faults that stop a preparation, by name; counted beyond the first twenty."""
    lines = [f"  {f.split}  {f.name}  {f.fault}: {f.detail}" for f in findings[:SHOWN]]
    if len(findings) > SHOWN:
        lines.append(f"  … and {len(findings) - SHOWN} more")
    kinds = ", ".join(f"faults.{kind}" for kind in sorted({f.fault.value for f in findings}))
    return "\n".join(
        [
            f"data must be free of faults whose rule is 'stop', got {len(findings)}:",
            *lines,
            f"mend them, or leave them out with data.{kinds.replace(', ', ', data.')}: drop",
        ]
    )


def sound_boxes(
    found: Annotations, *, height: int, width: int, classes: Sequence[str]
) -> tuple[Annotations, list[tuple[Action, str]]]:
    """The boxes that can be learned from, and what was wrong with the others.

    A box of an unknown class, without an extent, or wholly outside the image goes. One that
    passes the border by more than a pixel is cut to it, and listed too.
    """
    faults: list[tuple[Action, str]] = []
    boxes = found.boxes.copy()
    keep = np.ones(len(boxes), bool)
    for i, (x, y, w, h) in enumerate(found.boxes.tolist()):
        label = int(found.labels[i])
        what = f"box {i} [{x:g}, {y:g}, {w:g}, {h:g}]"
        left, top, right, bottom = max(x, 0.0), max(y, 0.0), min(x + w, width), min(y + h, height)
        if not np.isfinite((x, y, w, h)).all():
            faults.append((Action.BOX_DROPPED, f"box {i} is not four numbers"))
        elif not 0 <= label < len(classes):
            faults.append((Action.BOX_DROPPED, f"{what} has a category that is not declared"))
        elif w <= 0 or h <= 0:
            faults.append((Action.BOX_DROPPED, f"{what} has no extent"))
        elif right <= left or bottom <= top:
            faults.append((Action.BOX_DROPPED, f"{what} lies outside the image of {width}×{height} pixels"))
        else:
            if min(x, y) < -SLACK or x + w > width + SLACK or y + h > height + SLACK:
                faults.append((Action.BOX_CUT, f"{what} passes the border of {width}×{height} pixels"))
                boxes[i] = left, top, right - left, bottom - top
            continue
        keep[i] = False
    return Annotations(boxes[keep], found.labels[keep], found.areas[keep], found.crowds[keep]), faults
