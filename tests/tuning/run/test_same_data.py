"""Data of one fingerprint that were prepared anew: they must be read as when the experiment was launched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from data_makers import coco_folder
from scripted import experiment

from trainables.errors import DataError
from trainables.specs.definitions import BEFORE
from tuning.experiment.spec import Experiment
from tuning.ledger.records import PreparedRecord
from tuning.run.same_data import require_same_data

META: dict[str, Any] = {
    "fingerprint": "abc",
    "counts": {"train": 6, "validation": 2, "test": 0},
    "boxes": {"train": 12, "validation": 4, "test": 0},
    "crowds": {"train": 1, "validation": 0, "test": 0},
    "classes": ["cell", "debris"],
    "faults": [{"name": "a.png"}],
}
OF_BEFORE = ("fingerprint", "counts", "classes", "faults")
"""What records of before hold."""


def compared(tmp_path: Path, record: dict[str, Any], *, before: bool = True, **now: Any) -> str | None:
    """What is said when data with META, and `now` in its place, are compared with `record`."""
    (tmp_path / "abc").mkdir()
    (tmp_path / "abc" / "meta.json").write_text(json.dumps(META | now))
    of: Experiment = experiment(data={"coco": {"train": coco_folder(tmp_path / "own", 2)}})
    if before:
        of = of.model_copy(update={"definitions": BEFORE})
    return require_same_data(PreparedRecord(**record), tmp_path / "abc", of, tmp_path, moved=False)


def test_equal_data_go_on_without_a_word(tmp_path: Path) -> None:
    assert compared(tmp_path, META) is None


def test_the_folder_of_then_goes_on_without_a_word(tmp_path: Path) -> None:
    (tmp_path / "abc").mkdir()
    of_then = {key: META[key] for key in OF_BEFORE}
    (tmp_path / "abc" / "meta.json").write_text(json.dumps(of_then))
    of = experiment(data={"coco": {"train": coco_folder(tmp_path / "own", 2)}})
    of = of.model_copy(update={"definitions": BEFORE})
    assert require_same_data(PreparedRecord(**of_then), tmp_path / "abc", of, tmp_path, moved=False) is None


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize(
    ("now", "said"),
    [
        ({"counts": {"train": 8}}, "images were 6 train, 2 validation, 0 test, now 8 train"),
        ({"boxes": {"train": 20}}, "boxes were 12 train, 4 validation, 0 test, now 20 train"),
        ({"crowds": {"train": 0}}, "crowds were 1 train, 0 validation, 0 test, now 0 train"),
        ({"classes": ["cell"]}, "classes were cell, debris, now cell"),
        ({"faults": []}, "faults were 1, now 0"),
    ],
)
def test_data_that_are_read_otherwise_are_refused(
    tmp_path: Path, now: dict[str, Any], said: str, *, before: bool
) -> None:
    with pytest.raises(DataError, match=rf"reads them differently: {said}; restore the folder .*abc"):
        compared(tmp_path, META, before=before, **now)


def test_a_record_without_boxes_is_said_not_to_be_compared(tmp_path: Path) -> None:
    note = compared(tmp_path, {key: META[key] for key in OF_BEFORE})
    assert note is not None
    assert "boxes and masks were not recorded then and cannot be compared" in note


def test_a_record_without_crowds_is_said_not_to_be_compared_in_them(tmp_path: Path) -> None:
    note = compared(tmp_path, {key: value for key, value in META.items() if key != "crowds"})
    assert note is not None
    assert "crowds and masks were not recorded then and cannot be compared" in note


def test_boxes_that_were_counted_but_not_recorded_do_not_mean_prepared_anew(tmp_path: Path) -> None:
    """The version before the readers changed counted boxes in its prepared data, and recorded none."""
    (tmp_path / "abc").mkdir()
    of_then = {key: value for key, value in META.items() if key != "crowds"}
    (tmp_path / "abc" / "meta.json").write_text(json.dumps(of_then))
    of = experiment(data={"coco": {"train": coco_folder(tmp_path / "own", 2)}})
    of = of.model_copy(update={"definitions": BEFORE})
    record = PreparedRecord(**{key: META[key] for key in OF_BEFORE})
    assert require_same_data(record, tmp_path / "abc", of, tmp_path, moved=False) is None


def test_a_record_without_boxes_is_still_compared_in_the_rest(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="faults were 1, now 2"):
        compared(tmp_path, {key: META[key] for key in OF_BEFORE}, faults=[{}, {}])
