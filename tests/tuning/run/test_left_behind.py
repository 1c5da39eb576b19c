"""Requests to a driver that is gone: not obeyed, kept while nothing is recorded, removed then."""

from __future__ import annotations

import os
from pathlib import Path

from scripted import experiment

from tuning.ledger.history import History
from tuning.ledger.records import BaselineRecord, ExperimentRecord
from tuning.run.control import Control
from tuning.run.left_behind import LeftBehind

HEADER = ExperimentRecord(
    name="sweep", file="", experiment=experiment().model_dump(mode="json", exclude={"source_text"})
)


def left_in(folder: Path) -> list[Path]:
    """Touch what a driver may leave."""
    paths = [
        folder / "control" / "stop",
        folder / "control" / "stop-1",
        folder / "control" / "halt",
        folder / "trials" / "0001" / "halted",
        folder / "baseline.claimed",
    ]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return paths


def test_they_are_kept_until_they_are_to_be_forgotten(tmp_path: Path) -> None:
    paths = left_in(tmp_path)
    left = LeftBehind.found_in(tmp_path, History(HEADER))
    assert all(path in left and path.exists() for path in paths)
    left.forget()
    assert not any(path.exists() for path in paths)


def test_a_claim_is_kept_with_the_baseline_that_it_led_to(tmp_path: Path) -> None:
    *_, claim = left_in(tmp_path)
    history = History(HEADER).with_record(BaselineRecord(metrics={}))
    LeftBehind.found_in(tmp_path, history).forget()
    assert claim.exists()


def test_they_are_not_obeyed_but_the_same_request_made_again_is(tmp_path: Path) -> None:
    stop, one, *_ = left_in(tmp_path)
    left = LeftBehind.found_in(tmp_path, History(HEADER))
    assert Control(tmp_path, left=left).requests() == []
    assert stop.exists()
    os.utime(stop, ns=(1, 1))
    assert Control(tmp_path, left=left).requests() == [None]
    os.utime(one, ns=(1, 1))
    left.forget()
    assert one.exists()
