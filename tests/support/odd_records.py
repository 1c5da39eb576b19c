"""The record of a sweep with everything that trackers change, merge or lose."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import recorded

from tuning.ledger.ledger import Ledger, read_history
from tuning.ledger.outcomes import Outcome
from tuning.ledger.records import EndedRecord, ExperimentRecord, ReportRecord, StartedRecord

METRICS = (
    "mAP@50", "mAP_50", "mAP/50", "mAP 50", "a b", "a_b", "a//b", "a/b", "/a", "a/", "./a", "../a", "a/./b",
    "..", ".", "", " ", "a ", "Dice", "dice", "dice/größe", "dice/red blood cell (RBC)@stain, 2=x", "x:y",
    "x%y", "100%", "%25%", ":at:", "_step", "_timestamp", "step", "time", "timestamp", "metrics", "project",
    "outcome",     "a\\b", 'a"b', "a\nb", "日本", "long/" + "n" * 300 + "@1", "long/" + "n" * 300 + "@2",
)  # fmt: skip
"""Names of metrics: pairs that trackers merge, and names that they refuse, keep for themselves or cut."""
PARAMS: dict[str, Any] = {
    "lora.rank": 8, "lora_rank": 4, "a@b": 1, "a b": 2, "a//b": 3, "_x": 4, "step": 5,
    "whole": 1, "real": 1.0, "text": "1", "real text": "1.0", "true": True, "true text": "true",
    "nothing": None, "null text": "null",
    "nan text": "NaN", "inf text": "-Infinity", "quoted": '"NaN"', "small": 1e-300,
    "pi": math.pi, "huge": 2**70, "list": [1, 2.0, "3"], "map": {"a": {"b": [None]}}, "empty": "",
    "lines": "a\nb", "long": "v" * 7000, "longer": "v" * 7000 + "w", "long list": list(range(3000)),
    "word": "größe",
}  # fmt: skip
"""Values of parameters: of several types with one text, and texts that trackers read as something else."""


def odd_sweep(folder: Path) -> list[Any]:
    """Write the record into `folder`; return its lines as the driver has them, with what the file lacks:
    numbers that are not finite.

    Trial 0 has odd names and values, fractional epochs, and goes back to an earlier epoch. Trial 1 fails,
    and starts again from its first report. Trial 2 is pruned beside it, trial 3 diverges without a report,
    trial 4 is interrupted, and trial 5 runs.
    """
    header = ExperimentRecord(
        time=1000.0, name="digits", file="", experiment=recorded.experiment("digits").model_dump(mode="json")
    )
    lines = [
        _start(0, PARAMS, 1001.25),
        _report(0, 0.25, 3, 1002.125, dict.fromkeys(METRICS, 0.1)),
        _start(1, {"learning_rate": 0.1}, 1002.5),
        _report(0, 0.5, 5, 1003.0, {name: place / 7 for place, name in enumerate(METRICS)}),
        _report(1, 1.0, 10, 1003.5, {"dice": 0.5}),
        _start(2, {"learning_rate": 0.2}, 1003.75),
        _report(2, 1.0, 10, 1004.0, {"dice": 0.25, "loss": math.inf, "map": -math.inf, "iou": math.nan}),
        _report(1, 2.0, 20, 1004.5, {"dice": 0.625}),
        EndedRecord(trial=1, outcome=Outcome.FAILED, reason="the node is gone", epoch=2.0, time=1005.0),
        _report(0, 1.0, 10, 1005.5, {"mAP@50": 1.797e308, "mAP_50": 5e-324}),
        EndedRecord(trial=2, outcome=Outcome.PRUNED, value=0.25, epoch=1.0, time=1006.0),
        _report(0, 0.5, 5, 1006.5, {"mAP@50": 0.75, "mAP_50": -0.0}),
        _start(1, {"learning_rate": 0.1}, 1007.0),
        _report(1, 2.0, 20, 1007.5, {"dice": 0.875}),
        _report(0, 1.0, 10, 1008.0, {"mAP@50": 0.5}, objective=0.1 + 0.2),
        EndedRecord(trial=0, outcome=Outcome.COMPLETED, value=0.1 + 0.2, epoch=1.0, time=1009.0),
        EndedRecord(trial=1, outcome=Outcome.COMPLETED, value=0.875, epoch=2.0, time=1009.5),
        _start(3, {"learning_rate": 0.3}, 1010.0),
        EndedRecord(trial=3, outcome=Outcome.DIVERGED, reason="r" * 9000 + "\n'%", epoch=0.0, time=1010.5),
        _start(4, {"learning_rate": 0.4}, 1011.0),
        _report(4, 1.0, 10, 1011.5, {"dice": 0.5}),
        EndedRecord(trial=4, outcome=Outcome.INTERRUPTED, value=0.5, epoch=1.0, time=1012.0),
        _start(5, {"learning_rate": 0.5}, 1012.5),
        _report(5, 1.0, 10, 1013.0, {"dice": 0.375}),
    ]
    with Ledger.create(folder, header) as ledger:
        for line in lines:
            ledger.append(line)
    return [read_history(folder).header, *lines]


def _start(trial: int, params: dict[str, Any], when: float) -> StartedRecord:
    return StartedRecord(trial=trial, params=params, hash=f"of-{trial}", time=when)


def _report(
    trial: int,
    epoch: float,
    step: int,
    when: float,
    metrics: dict[str, float],
    objective: float | None = None,
) -> ReportRecord:
    return ReportRecord(
        trial=trial, epoch=epoch, step=step, metrics=metrics, train_s=0.3, peak_mb=100.5, time=when,
        objective=metrics.get("dice") if objective is None else objective,
    )  # fmt: skip
