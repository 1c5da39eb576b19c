"""The order of trials on smaller images against that on images of the model's own size."""

from __future__ import annotations

from pathlib import Path

import pytest
from recorded import experiment

from analysis.compare.fidelity import fidelity_json, fidelity_of, fidelity_table
from analysis.errors import NothingToRankError
from analysis.query.sweep import Sweep
from analysis.ranking.best import rank
from analysis.ranking.rank_by_sql import best_number
from tuning.ledger.ledger import Ledger
from tuning.ledger.outcomes import Outcome, StoppedBy
from tuning.ledger.records import (
    BuiltRecord,
    EndedRecord,
    ExperimentRecord,
    ReportRecord,
    StartedRecord,
    StoppedRecord,
)

SMALL = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.99)
OWN = (0.3, 0.2, 0.4, 0.6, 0.5, 0.7, None)
"""At epochs 1 and 2, of seven trials; the last one is stopped with the best value on small images."""


def written(folder: Path, own: tuple[float | None, ...] = OWN, fidelity: str | None = "resolution") -> Path:
    asha = {"grace_epochs": 1.0, "reduction_factor": 2.0} | ({"fidelity": fidelity} if fidelity else {})
    asked = experiment(folder.name, epochs=2, scheduler={"asha": asha})
    header = ExperimentRecord(name=folder.name, file="", experiment=asked.model_dump(mode="json"))
    with Ledger.create(folder, header) as ledger:
        for number, (low, high) in enumerate(zip(SMALL, own, strict=True)):
            params = {"adapter": "lora", "freezing": "frozen", "learning_rate": 0.001 * (number + 1)}
            ledger.append(StartedRecord(trial=number, params=params, hash=str(number)))
            ledger.append(BuiltRecord(trial=number, parameters={"total": 1}))
            ledger.append(report(number, 1.0, low, (48, 48) if fidelity else None))
            if high is None:
                ledger.append(StoppedRecord(trial=number, by=StoppedBy.ASHA, epoch=1.0))
            else:
                ledger.append(report(number, 2.0, high, None))
            outcome = Outcome.PRUNED if high is None else Outcome.COMPLETED
            value = low if high is None and not fidelity else high
            ledger.append(EndedRecord(trial=number, outcome=outcome, value=value, epoch=2.0 if high else 1.0))
    return folder


def report(number: int, epoch: float, value: float, size: tuple[int, int] | None) -> ReportRecord:
    return ReportRecord(
        trial=number, epoch=epoch, step=int(epoch), objective=value, metrics={"dice": value}, image_size=size
    )


def test_trials_with_both_values_are_correlated(tmp_path: Path) -> None:
    found = fidelity_of(Sweep.at(written(tmp_path / "a")))
    (one,) = found.sizes
    assert (one.image_size, one.epoch, one.reached, found.epoch) == ((48, 48), 1.0, 7, 2.0)
    assert one.correlation.pairs == 6
    assert one.correlation.rho == pytest.approx(1 - 6 * 4 / (6 * 35))
    assert one.correlation.interval is not None
    (row,) = fidelity_table(found).rows
    assert row[:5] == ("48×48", "1", "7", "6", "+0.89")
    assert fidelity_json(found)["sizes"][0]["with_both"] == 6  # type: ignore[index, call-overload]


def test_what_small_images_say_wins_nothing(tmp_path: Path) -> None:
    """Trial 6 has 0.99 on small images, and is not ranked, not even among trials that were stopped."""
    folder = written(tmp_path / "a")
    sweep = Sweep.at(folder)
    for early_stopped in (False, True):
        ranked = rank(sweep, early_stopped=early_stopped).ranked
        assert next((trial.number, found.value) for trial, found in ranked) == (5, 0.7)
        assert 6 not in [trial.number for trial, _ in ranked]
    assert not rank(sweep, at=1.0).ranked
    assert best_number(folder) == 5


def test_nothing_to_compare_is_said(tmp_path: Path) -> None:
    with pytest.raises(NothingToRankError, match="has images of one size"):
        fidelity_of(Sweep.at(written(tmp_path / "a", fidelity=None)))
    none = fidelity_of(Sweep.at(written(tmp_path / "b", own=(None,) * 7)))
    assert none.epoch is None
    assert none.sizes[0].correlation.rho is None
