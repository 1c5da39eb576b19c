"""The errors that an image, its boxes or its mask can have, and how each one is handled."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

from trainables.specs.data import FaultRule, FaultRules, Split

SHOWN = 20
"""The number of errors that a message lists by name; it only counts the others."""
NEAR = "did you mean"
"""Part of an error's detail if another file is probably meant."""
SETTING = "set data.masks.suffix"
"""Part of an error's detail if a setting says how names differ."""
SLACK = 1.0
"""Pixels by which annotated boxes may extend beyond the border: this is rounding, not an error."""


class Fault(StrEnum):
    """The kinds of data error, with the names of their rules in `FaultRules`."""

    UNREADABLE_IMAGE = "unreadable_image"
    MISSING_FILE = "missing_file"
    BAD_BOX = "bad_box"
    EMPTY_MASK = "empty_mask"
    BAD_MASK = "bad_mask"

    def rule(self, rules: FaultRules) -> FaultRule:
        """The rule for this kind in `rules`."""
        rule: FaultRule = getattr(rules, self.value)
        return rule


class Action(StrEnum):
    """How an error was handled."""

    IMAGE_DROPPED = "image dropped"
    BOX_DROPPED = "box dropped"
    BOX_CUT = "box cut to the image"
    IGNORED = "left out"
    KEPT = "kept as it is"


@dataclass(frozen=True)
class Finding:
    """One data error: where it is, what is wrong, how it was handled."""

    split: Split
    name: str
    fault: Fault
    action: Action
    detail: str

    def record(self) -> dict[str, str]:
        """The finding as JSON."""
        return {key: str(value) for key, value in asdict(self).items()}


def stopping_findings(findings: Iterable[Finding], rules: FaultRules) -> list[Finding]:
    """The findings with a rule to stop."""
    return [f for f in findings if f.fault.rule(rules) is FaultRule.STOP]


def stop_message(findings: Sequence[Finding]) -> str:
    """The message of all errors that stop a preparation: the first twenty by name, the others as a count."""
    head = f"data must have no errors with the rule 'stop', got {len(findings)}:"
    lines = [f"  {f.split}  {f.name}  {f.fault}: {f.detail}" for f in findings[:SHOWN]]
    if len(findings) > SHOWN:
        lines.append(f"  … and {len(findings) - SHOWN} more")
    if all(f.fault is Fault.MISSING_FILE and (NEAR in f.detail or SETTING in f.detail) for f in findings):
        # Leaving them all out would leave nothing.
        setting = any(SETTING in f.detail for f in findings)
        return "\n".join([head, *lines, "see the setting above" if setting else "correct these names"])
    kinds = ", ".join(f"faults.{kind}" for kind in sorted({f.fault.value for f in findings}))
    return "\n".join(
        [
            head,
            *lines,
            f"fix them, or leave them out with data.{kinds.replace(', ', ', data.')}: drop",
        ]
    )
