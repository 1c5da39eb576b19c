"""What can be wrong with an image, its boxes or its mask, and what is then done about it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

from trainables.specs.data import FaultRule, FaultRules, Split

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
