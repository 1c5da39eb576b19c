"""The line of trials that a trial goes back to: those whose states or weights it began with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from tuning.formatting import format_setting
from tuning.ledger.history import History, TrialHistory
from tuning.ledger.outcomes import RAN_TO_END


@dataclass(frozen=True)
class Link:
    """A trial of a line.

    until: the epoch at which the next one began; None for the last one, and where it is not known, because
    the state that a user continued was saved somewhere between reports.
    state: whether the next one goes on with the whole state.
    """

    trial: TrialHistory
    until: float | None = None
    state: bool = False


def line_of(history: History, number: int) -> tuple[Link, ...]:
    """The trials that a trial goes back to, the first one first, and the trial itself."""
    trial = history.trials[number]
    parent = trial.parent
    if parent is None:
        return (Link(trial),)
    *before, last = line_of(history, parent.trial)
    until = parent.epoch
    if until is None and last.trial.outcome in RAN_TO_END:
        until = last.trial.epoch
    return (*before, Link(last.trial, until, parent.state), Link(trial))


def can_be_repeated(history: History, number: int) -> bool:
    """Whether a trial can be trained from the start: it is known where each one of its line began."""
    return all(link.until is not None for link in line_of(history, number)[:-1])


def schedule_of(history: History, number: int) -> tuple[str, ...]:
    """The settings that changed along a trial's line, a line of text for each trial; empty for one alone."""
    line = line_of(history, number)
    if len(line) == 1:
        return ()
    changed = _changed([link.trial.settings for link in line])
    begins, found = 0.0, []
    for link in line:
        ends = link.trial.epoch if link.until is None else link.until
        values = ", ".join(f"{name} {format_setting(link.trial.settings.get(name))}" for name in changed)
        found.append(f"epoch {begins:g} to {ends:g}  trial {link.trial.number}  {values}".rstrip())
        begins = ends if link.state else 0.0
    return tuple(found)


def _changed(settings: list[Mapping[str, JsonValue]]) -> list[str]:
    names = dict.fromkeys(name for each in settings for name in each)
    return [name for name in names if len({str(each.get(name)) for each in settings}) > 1]
