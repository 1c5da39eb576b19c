"""Records of sweeps that never ran, written through the real ledger."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuning.experiment.space import config_hash
from tuning.experiment.spec import Experiment
from tuning.ledger.header import experiment_of
from tuning.ledger.ledger import LEDGER, Ledger, read_header
from tuning.ledger.outcomes import Ending, Outcome, StoppedBy
from tuning.ledger.records import (
    BaselineRecord,
    BuiltRecord,
    ClosedRecord,
    EndedRecord,
    ExperimentRecord,
    PreparedRecord,
    ReportRecord,
    ScoredRecord,
    ScoringRecord,
    StartedRecord,
    StoppedRecord,
)
from tuning.tables.parquet_parts import Tables

SPACE = {
    "adapter": {"choice": ["none", "lora", "serial_lora"]},
    "freezing": [
        {"choice": ["head_only", "full"], "when": {"adapter": "none"}},
        {"choice": ["frozen", "unfrozen"], "when": {"adapter": ["lora", "serial_lora"]}},
    ],
    "learning_rate": {"float": [1e-3, 1e-2], "log": True},
    "lora.rank": {"choice": [4, 8, 16]},
}


@dataclass(frozen=True)
class Told:
    """A trial of the fixture: its parameters, its Dice by epoch, its end (None: it still runs)."""

    params: Mapping[str, Any]
    curve: Sequence[float]
    outcome: Outcome | None = Outcome.COMPLETED
    reason: str | None = None
    of: int | None = None
    losses: Sequence[float] = ()
    above_floor: Sequence[tuple[float, float]] = ()
    """Of each report; empty in a record without floors."""
    also: Mapping[str, float] = field(default_factory=dict)
    """Other metrics of each report."""
    lanes: int = 1
    """Trials that took their steps together with it, itself included."""
    values: Mapping[str, float] = field(default_factory=dict)
    """With several objectives or constraints, at its end."""
    broken: Sequence[str] = ()
    """The constraints that it does not keep."""
    parameters: Mapping[str, int] = field(
        default_factory=lambda: {"adapter": 1024, "head": 2000, "backbone": 0, "total": 1_000_000}
    )


def experiment(
    name: str = "digits",
    *,
    rule: str = "best",
    epochs: int = 6,
    trials: int = 8,
    space: Mapping[str, Any] | None = None,
    **parts: Any,
) -> Experiment:
    """`parts`: other parts of the file, such as data."""
    from tuning.experiment.space import Space

    text: dict[str, Any] = {
        "name": name,
        "task": "segmentation",
        "objective": {"metric": "dice", "value": rule},
        "trial": {"epochs": epochs, "batch_size": 16},
        "space": Space.parse(SPACE if space is None else space).model_dump(mode="json"),
        "search": {"random": {}, "trials": trials},
        "scheduler": {"asha": {"grace_epochs": 1.0, "reduction_factor": 3.0}},
    } | parts
    return Experiment.model_validate_json(json.dumps(text))


DOMAINS = {"noisy": {"embedded": "noisy"}, "dim": {"corruption": {"kind": "brightness", "severity": 3}}}
SCORES = (
    ScoredRecord(
        trial=4, epoch=2.0, metrics={"dice": 0.8, "loss": 0.2}, robustness={"noisy": 0.5, "dim": 0.75},
        latency_ms=2.5,
        domains={"dim": {"dice": 0.6, "loss": 0.4}, "noisy": {"dice": 0.4, "loss": 0.9}},
    ),
    ScoredRecord(
        trial=0, epoch=5.0, metrics={"dice": 0.7, "loss": 0.3}, robustness={"noisy": 0.9, "dim": 0.8},
        domains={"dim": {"dice": 0.56, "loss": 0.5}, "noisy": {"dice": 0.63, "loss": 0.4}},
    ),
    ScoredRecord(
        trial=1, epoch=2.0, metrics={"dice": 0.9, "loss": 0.1}, robustness={"noisy": 1.0, "dim": 1.0},
        domains={"dim": {"dice": 0.9, "loss": 0.1}, "noisy": {"dice": 0.9, "loss": 0.1}},
    ),
    ScoredRecord(trial=2, epoch=6.0, reason="best.ckpt is gone"),
    ScoredRecord(
        trial=None, metrics={"dice": 0.0, "loss": 3.0},
        domains={"dim": {"dice": 0.0, "loss": 3.0}, "noisy": {"dice": 0.02, "loss": 3.0}},
    ),
)  # fmt: skip
"""Scores of the trials below: of two frozen lora trials, 0 is better on validation and 1 on test images."""

LORA = {"adapter": "lora", "freezing": "frozen"}
TRIALS = (
    Told(LORA | {"learning_rate": 0.005, "lora.rank": 8}, (0.3, 0.5, 0.6, 0.7, 0.75, 0.72)),
    Told(LORA | {"learning_rate": 0.002, "lora.rank": 4}, (0.35, 0.4), Outcome.PRUNED),
    Told(
        {"adapter": "none", "freezing": "head_only", "learning_rate": 0.004},
        (0.2, 0.25, 0.3, 0.3, 0.31, 0.32),
        parameters={"adapter": 0, "head": 2000, "backbone": 0, "total": 1_000_000},
    ),
    Told(
        {"adapter": "serial_lora", "freezing": "unfrozen", "learning_rate": 0.009},
        (0.5,),
        Outcome.DIVERGED,
        "the loss is not finite at epoch 2",
    ),
    Told(
        {"adapter": "serial_lora", "freezing": "frozen", "learning_rate": 0.003},
        (0.6, 0.74, 0.73, 0.71),
        Outcome.EARLY_STOPPED,
    ),
    Told({"adapter": "serial_lora", "freezing": "frozen", "learning_rate": 0.001}, (0.1,), Outcome.PRUNED),
    Told(LORA | {"learning_rate": 0.005, "lora.rank": 8}, (), Outcome.REUSED, of=0),
)
"""Seven trials: best 0 (0.75 at epoch 5 of 6), then 4 (0.74 at epoch 2, ended itself at 4)."""


def write(
    folder: Path,
    trials: Sequence[Told] = TRIALS,
    *,
    of: Experiment | None = None,
    baseline: float | None = 0.01,
    closed: Ending | None = Ending.FINISHED,
    began: float = 1000.0,
    scores: Sequence[ScoredRecord] = (),
    floors: Mapping[str, Mapping[str, float]] | None = None,
) -> Path:
    """Write a record into `folder`; trials follow one another, an epoch takes 10 s and 160 images."""
    asked = of or experiment(folder.name)
    header = ExperimentRecord(time=began, name=asked.name, file="", experiment=asked.model_dump(mode="json"))
    now = began
    with Ledger.create(folder, header) as ledger:
        prepared = PreparedRecord(time=now, fingerprint="f", counts={"train": 160, "validation": 32})
        if floors is not None:
            recorded = {images: dict(found) for images, found in floors.items()}
            prepared = prepared.model_copy(update={"floors": recorded})
        ledger.append(prepared)
        if baseline is not None:
            ledger.append(BaselineRecord(time=now, metrics={"dice": baseline, "loss": 3.0}))
        for number, told in enumerate(trials):
            ledger.append(
                StartedRecord(time=now, trial=number, params=dict(told.params), hash=config_hash(told.params))
            )
            if told.curve:
                ledger.append(BuiltRecord(time=now, trial=number, parameters=dict(told.parameters)))
            best = None
            for epoch, value in enumerate(told.curve, start=1):
                now += 10
                last = asked.objective.value == "last"
                best = value if best is None or last else max(best, value)
                loss = told.losses[epoch - 1] if told.losses else 1.0 - value
                ledger.append(
                    ReportRecord(
                        time=now, trial=number, epoch=float(epoch), step=epoch * 10, objective=best,
                        metrics={"dice": value, "loss": loss, "dice/7": value / 2} | dict(told.also),
                        above_floor=told.above_floor[epoch - 1] if told.above_floor else None, train_s=8.0,
                        evaluate_s=1.0, wait_s=0.1, samples=160, peak_mb=100.0, lanes=told.lanes,
                    )
                )  # fmt: skip
            if told.outcome is Outcome.PRUNED:
                ledger.append(
                    StoppedRecord(time=now, trial=number, by=StoppedBy.ASHA, epoch=float(len(told.curve)))
                )
            if told.outcome is not None:
                lost = told.outcome in (Outcome.DIVERGED, Outcome.FAILED)
                ledger.append(
                    EndedRecord(
                        time=now, trial=number, outcome=told.outcome, reason=told.reason,
                        value=None if lost else best, epoch=float(len(told.curve)), of=told.of,
                        values=dict(told.values), broken=list(told.broken),
                    )
                )  # fmt: skip
        if scores:
            ledger.append(ScoringRecord(time=now, trials=[score.trial for score in scores]))
        for score in scores:
            ledger.append(score.model_copy(update={"time": now}))
        if closed is not None:
            ledger.append(ClosedRecord(time=now, reason=closed))
    return folder


BEFORE = {"dice": 1, "iou": 1, "coco": 1, "robustness": 1, "fingerprint": 1}
"""The definitions of a record of an earlier version, for `experiment(definitions=…)`."""
AFTER = BEFORE | {"dice": 2, "iou": 2, "robustness": 2}
"""Definitions under which floors are recorded."""
FLOORS = {
    "validation": {"dice": 0.3, "dice/7": 0.1, "dice_worst": 0.0},
    "test": {"dice": 0.2, "dice/7": 0.1},
    "test@noisy": {"dice": 0.3},
    "test@dim": {"dice": 0.2},
}


def compacted(folder: Path, share: float) -> Path:
    """The same record, with this share of it, from its start, in Parquet."""
    whole = (folder / LEDGER).read_bytes()
    cut = whole.rfind(b"\n", 0, int(len(whole) * share) + 1) + 1
    if cut:
        (folder / LEDGER).write_bytes(whole[:cut])
        header = read_header(folder)
        tables = Tables(folder, experiment_of(header), header)
        tables.open(1.0)
        tables.close()
        (folder / LEDGER).write_bytes(whole)
    return folder
