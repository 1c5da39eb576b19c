"""Random histories of sweeps: trials start, report, end, are interrupted and resumed, in any order."""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, cast

from recorded import LORA, experiment

from trainables.specs.workload import Direction, ValueRule
from tuning.experiment.spec import Experiment
from tuning.ledger.checksum import with_checksum
from tuning.ledger.history import History, TrialHistory
from tuning.ledger.ledger import LEDGER, Ledger
from tuning.ledger.outcomes import Outcome
from tuning.ledger.recorder import Recorder
from tuning.ledger.records import ExperimentRecord, Record, ReportRecord, StartedRecord
from tuning.ranking.standing import Objective

VALUES = (0.0, -0.0, 0.1, 0.2, 0.2, 0.3, math.nan, None)
"""Few values, so that there are many ties; the last two are not valid."""
MOST_TRIALS = 16
ACTIONS = {"start": 5, "report": 10, "end": 4, "again": 1, "reuse": 0.5}
ENDS = dict.fromkeys(Outcome, 1) | {Outcome.COMPLETED: 3, Outcome.PRUNED: 2, Outcome.REUSED: 0}
"""Weights."""
LOWERED = ("a-1", "B")
"""Experiments by name whose trials have smaller images up to `UNTIL`."""
UNTIL = 1.0
AGAIN = (Outcome.INTERRUPTED, Outcome.FAILED)
"""Outcomes of trials that a later driver may start again."""


class Unwritten:
    """A ledger that keeps its records in memory."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def append(self, record: Record) -> None:
        """Keep a record."""
        self.records.append(record)


def random_experiment(rng: random.Random, name: str = "random") -> Experiment:
    """An experiment that maximises or minimises `dice`, by its best or its last report."""
    objective = {"metric": "dice", "value": rng.choice(("best", "last")), "mode": rng.choice(("max", "min"))}
    return experiment(name, objective=objective)


def random_records(rng: random.Random, asked: Experiment, steps: int = 80) -> list[Record]:
    """The records after the header. Running objectives are computed here, without the ranking."""
    ledger = Unwritten()
    recorder = Recorder(cast(Ledger, ledger), History(header_of(asked)))
    reached: dict[int, float] = {}
    for _ in range(steps):
        trials = recorder.history.trials
        running = [n for n, trial in trials.items() if trial.ended is None]
        again = [n for n, trial in trials.items() if trial.outcome in AGAIN]
        (action,) = rng.choices(*zip(*ACTIONS.items(), strict=True))
        if action == "start" and len(trials) < MOST_TRIALS:
            recorder.record(started(len(trials)))
            reached[len(trials) - 1] = 0.0
        elif action == "report" and running:
            number = rng.choice(running)
            reached[number] += rng.choice((0.5, 1.0))
            recorder.record(_report(rng, asked, recorder.history, number, reached[number]))
        elif action == "end" and running:
            (outcome,) = rng.choices(*zip(*ENDS.items(), strict=True))
            recorder.end(rng.choice(running), outcome)
        elif action == "again" and again:
            number = rng.choice(again)  # from its last checkpoint, or from the start
            reached[number] = rng.choice([0.0, *(report.epoch for report in trials[number].reports)])
            recorder.record(started(number))
        elif action == "reuse" and trials and len(trials) < MOST_TRIALS:
            number, of = len(trials), rng.choice(list(trials))
            recorder.record(started(number))
            recorder.end(number, Outcome.REUSED, reuses=of)
    return ledger.records


def started(number: int) -> StartedRecord:
    """The start of a trial."""
    return StartedRecord(trial=number, params=LORA, hash=str(number))


def header_of(asked: Experiment) -> ExperimentRecord:
    """The first line of an experiment's record."""
    return ExperimentRecord(name=asked.name, file="", experiment=asked.model_dump(mode="json"))


def _report(rng: random.Random, asked: Experiment, history: History, number: int, epoch: float) -> Record:
    metrics: dict[str, Any] = {name: rng.choice(VALUES) for name in ("dice", "loss", "dice/7")}
    size = (32, 32) if asked.name in LOWERED and epoch <= UNTIL else None
    before = [
        r.metrics["dice"] for r in history.trials[number].reports if r.epoch < epoch and r.image_size == size
    ]
    known = [v for v in (*before, metrics["dice"]) if v is not None and not math.isnan(v)]
    if asked.objective.value == "last":
        running = known[-1] if known else None
    else:
        pick = max if asked.objective.mode == "max" else min
        running = pick(known, default=None)
    return ReportRecord(
        trial=number,
        epoch=epoch,
        step=int(epoch * 10),
        objective=running,
        metrics=metrics,
        image_size=size,
    )


def write_random(folder: Path, asked: Experiment, records: list[Record]) -> Path:
    """The records as an experiment on disk."""
    Ledger.create(folder, header_of(asked)).close()
    with (folder / LEDGER).open("ab") as file:
        file.writelines(with_checksum(record.model_dump_json(by_alias=True).encode()) for record in records)
    return folder


Place = tuple[str, int, float, float]
"""Experiment, trial, its value, and the epoch of the report that gave it."""


def naive_ranking(
    trials: Iterable[tuple[str, TrialHistory]],
    objective: Objective,
    classes: Sequence[Collection[Outcome | None]],
    at: float | None = None,
) -> list[Place]:
    """A direct implementation of the ranking rules, to compare with."""
    found: list[tuple[int, Place]] = []
    for experiment_name, trial in trials:
        within = [i for i, outcomes in enumerate(classes) if trial.outcome in outcomes]
        reports = [
            (value, report.epoch)
            for report in trial.reports
            if (value := report.metrics[objective.metric]) is not None and not math.isnan(value)
            if (at is None or report.epoch <= at) and report.image_size is None
        ]
        if not within or not reports or (at is not None and trial.epoch < at):
            continue
        chosen = reports[-1]
        if objective.rule is ValueRule.BEST:
            values = [value for value, _ in reports]
            best = max(values) if objective.direction is Direction.MAXIMIZE else min(values)
            chosen = next((value, epoch) for value, epoch in reports if value == best)
        found.append((within[0], (experiment_name, trial.number, *chosen)))
    better = -1 if objective.direction is Direction.MAXIMIZE else 1
    found.sort(key=lambda each: (each[0], better * each[1][2], each[1][0], each[1][1]))
    return [place for _, place in found]


COMPARABLE = (
    None, Outcome.COMPLETED, Outcome.EARLY_STOPPED, Outcome.PRUNED, Outcome.STOPPED, Outcome.INTERRUPTED,
    Outcome.RESTING, Outcome.PAUSED,
)  # fmt: skip
FINISHED = (Outcome.COMPLETED, Outcome.EARLY_STOPPED)
STOPPED = (Outcome.PRUNED, Outcome.STOPPED)
