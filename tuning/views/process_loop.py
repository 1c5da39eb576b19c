"""The process behind a `ProcessView`: carries out lines of JSON from standard input.

It ends at most a minute after its input ends, whatever a network or a database does.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TextIO

from pydantic import JsonValue

from tuning.ledger.outcomes import Outcome
from tuning.views.written_marks import Written

LINGERS_S = 60.0
"""How long the process may live after the driver's last line."""


@dataclass(frozen=True)
class Row:
    """A report: step, seconds since 1970, and finite values by the record's names."""

    step: int
    time: float
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Start:
    """A trial's run with all reports so far."""

    trial: int
    id: str
    name: str
    params: Mapping[str, JsonValue]
    began: float
    rows: Sequence[Row]


@dataclass(frozen=True)
class End:
    """A trial's end; with `whole` it does not go on later."""

    trial: int
    outcome: Outcome
    reason: str | None
    value: JsonValue
    time: float
    whole: bool

    @property
    def facts(self) -> dict[str, JsonValue]:
        """Outcome, reason and value, as far as they are known."""
        named = {"outcome": self.outcome.value, "reason": self.reason, "value": self.value}
        return {name: value for name, value in named.items() if value is not None}

    @property
    def lost(self) -> bool:
        """Whether the trial did not end as it was meant to."""
        return self.outcome in (Outcome.FAILED, Outcome.DIVERGED, Outcome.INTERRUPTED)


class RunWriter(Protocol):
    """Writes runs with the library of a tool."""

    def there(self) -> list[int] | None:
        """The trials that have a run; None if whatever was whole still is."""

    def start(self, run: Start) -> None:
        """Write a run with these reports and no others, whatever is there of it."""

    def log(self, trial: int, rows: Sequence[Row]) -> None:
        """Add reports to an open run."""

    def end(self, end: End) -> None:
        """End an open run."""

    def close(self) -> None:
        """End the work; runs that are still open belong to trials that go on later."""


@dataclass(frozen=True)
class Pipes:
    """Commands from the driver, and answers to it."""

    commands: TextIO
    answers: TextIO


def own_pipes() -> Pipes:
    """Standard input and output for us alone; to be called before libraries are imported.

    What they print goes to standard error. A process that they start, as wandb does, does not inherit the
    commands: it would keep the driver's pipe open after our death, and the driver would not notice.
    """
    ours = Pipes(os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w"))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    return ours


def serve(folder: Path, pipes: Pipes, open_writer: Callable[[], RunWriter]) -> None:
    """Carry out the commands until they end."""
    writer = open_writer()
    with pipes.answers as answers:
        answers.write(json.dumps({"there": writer.there()}) + "\n")
    done = Written(folder)
    for line in pipes.commands:
        _carry_out(json.loads(line), writer, done)
    deadline = threading.Timer(LINGERS_S, os._exit, (1,))
    deadline.daemon = True
    deadline.start()
    writer.close()


def _carry_out(command: dict[str, Any], writer: RunWriter, done: Written) -> None:
    match command.pop("do"):
        case "start":
            rows = [Row(**row) for row in command.pop("rows")]
            writer.start(Start(**command, rows=rows))
        case "log":
            writer.log(command["trial"], [Row(**row) for row in command["rows"]])
        case "end":
            reports = command.pop("reports")
            outcome = Outcome(command.pop("outcome"))
            writer.end(End(**command, outcome=outcome, whole=reports is not None))
            if reports is not None:
                done.add(command["trial"], reports, command["time"])
