"""What a sweep records of its prepared data, and which objectives it refuses then."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from data_makers import coco_folder
from scripted import experiment

from trainables.errors import DataError
from trainables.preparation import prepare_workload
from trainables.specs.definitions import BEFORE
from tuning.ledger.history import History
from tuning.ledger.ledger import Ledger, read_history
from tuning.ledger.recorder import Recorder
from tuning.ledger.records import ExperimentRecord, PreparedRecord
from tuning.run.prepared_data import wait_for_data

DOMAINS = {"blurred": {"corruption": {"kind": "blur"}}, "rough": {"embedded": "textured"}}
DATA = {"embedded": {"train": 4, "validation": 16, "test": 2}, "domains": DOMAINS}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "sweep"


def _recorded(folder: Path, data: Mapping[str, Any] = DATA, **parts: Any) -> PreparedRecord:
    """The record of the data of an experiment, prepared here."""
    of = experiment(data=data, **parts)
    header = ExperimentRecord(
        name=of.name, file="", experiment=of.model_dump(mode="json", exclude={"source_text"})
    )
    ready: Future[Path] = Future()
    ready.set_result(prepare_workload(of.workload))
    with Ledger.create(folder, header) as ledger:
        wait_for_data(ready, of, folder, Recorder(ledger, History(header)), stopped=lambda: False)
    found = read_history(folder).prepared
    assert found is not None
    return found


def test_floors_are_recorded_for_each_set_of_masks(folder: Path) -> None:
    found = _recorded(folder, task="segmentation", objective={"metric": "dice/7@rough"})
    sets = {f"{part}{at}" for part in ("validation", "test") for at in ("", "@blurred", "@rough")}
    assert found.floors.keys() == sets
    for floors in found.floors.values():
        assert {"dice", "iou", "dice_worst", "dice_with_background", "soft_dice"} <= floors.keys()
        assert all(0 <= floor < 1 for floor in floors.values())


def test_what_lies_in_a_folder_is_recorded(folder: Path, tmp_path: Path) -> None:
    part = coco_folder(tmp_path / "pets", 8)
    found = _recorded(folder, {"folder": str(tmp_path / "pets")})
    assert found.found == "COCO JSON: train annotations_0.json"
    declared = _recorded(tmp_path / "declared", {"coco": {"train": part}})
    assert declared.found == ""
    assert declared.fingerprint == found.fingerprint


def test_a_record_of_before_and_boxes_have_no_floors(tmp_path: Path) -> None:
    parts = {"task": "segmentation", "objective": {"metric": "dice"}, "definitions": BEFORE.model_dump()}
    assert _recorded(tmp_path / "before", **parts).floors == {}
    assert _recorded(tmp_path / "boxes").floors == {}


@pytest.mark.parametrize(
    ("metric", "reason"),
    [
        ("map_large", r"validation has no large box"),
        ("mar_large/3@blurred", r"validation of domain blurred has no large box of class 3"),
        ("map_50/zebra", r"there is no class 'zebra'"),
    ],
)
def test_an_objective_without_a_value_is_refused_before_any_trial(
    folder: Path, metric: str, reason: str
) -> None:
    with pytest.raises(DataError, match=rf"objective\.metric {metric}: {reason}"):
        _recorded(folder, objective={"metric": metric})
    assert read_history(folder).prepared is None


def test_a_weight_of_a_class_that_the_data_lack_is_refused_before_any_trial(folder: Path) -> None:
    with pytest.raises(DataError, match=r"loss_weights: there is no class 'zebra'; the data has 0, 1, 2"):
        _recorded(folder, trial={"loss_weights": {"3": 2.0, "zebra": 2.0}})
    assert read_history(folder).prepared is None
