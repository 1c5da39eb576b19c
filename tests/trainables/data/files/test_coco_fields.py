from __future__ import annotations

import math
from typing import Any

import pytest

from trainables.data.files.coco_fields import NOT_A_BOX, Keys, box, flag, key, number, whole_number
from trainables.errors import DataError


@pytest.mark.parametrize(
    ("value", "wanted"),
    [(1, 1.0), (1.5, 1.5), ("1", 1.0), (" 2.5 ", 2.5), ("1e2", 100.0), (-3, -3.0)],
)
def test_numbers_may_be_text(value: Any, wanted: float) -> None:
    assert number(value) == wanted


@pytest.mark.parametrize("value", [None, True, False, "", "many", "1,5", "1_0", [], {}, 10**400])
def test_what_is_no_number_is_nan(value: Any) -> None:
    assert math.isnan(number(value))


@pytest.mark.parametrize(
    ("value", "wanted"),
    [(7, 7), ("7", 7), (7.0, 7), ("7.0", 7), (" 7 ", 7), ("007", 7), (7.5, None), ("7.5", None),
     (2.0**53, None), ("9007199254740993", 2**53 + 1),
     (True, None), (None, None), ("seven", None), (math.nan, None), (math.inf, None), ([7], None)],
)  # fmt: skip
def test_whole_numbers(value: Any, wanted: int | None) -> None:
    assert whole_number(value) == wanted


@pytest.mark.parametrize("value", [0, "0", "0.0", 0.0, False, "false", "False", None, "", "no"])
def test_what_means_no(value: Any) -> None:
    assert flag(value, "iscrowd") is False


@pytest.mark.parametrize("value", [1, "1", 1.0, "1.0", True, "true", "YES"])
def test_what_means_yes(value: Any) -> None:
    assert flag(value, "iscrowd") is True


@pytest.mark.parametrize("value", [2, -1, 0.5, "maybe", [], {}, [0], math.nan])
def test_other_flags_name_their_field(value: Any) -> None:
    with pytest.raises(DataError, match=r"annotations\[3\]\.iscrowd must be 0 or 1, got"):
        flag(value, "a.json: annotations[3].iscrowd")


def test_boxes() -> None:
    assert box(["1", 2, "3.5", 4.0]) == [1, 2, 3.5, 4]
    for wrong in (
        None,
        "1 2 3 4",
        [1, 2, 3],
        [1, 2, 3, None],
        [1, 2, 3, "nan"],
        [1, 2, 3, "inf"],
        [1e300] * 4,
    ):
        assert box(wrong) == NOT_A_BOX


@pytest.mark.parametrize("asked", [1, 1.0, "1", "1.0", " 1"])
def test_ids_are_found_in_any_type(asked: Any) -> None:
    assert Keys([1, 2]).find(asked) == 1
    assert Keys(["1", "2"]).find(asked) == "1"


@pytest.mark.parametrize("asked", [3, "one", None, True, 1.5, [1], {}])
def test_other_ids_are_not_found(asked: Any) -> None:
    assert Keys([1, 2]).find(asked) is None


def test_an_id_that_could_be_two_is_only_found_as_it_is_written() -> None:
    keys = Keys(["1", "01", 5])
    assert (keys.find("1"), keys.find("01"), keys.find(1), keys.find("5")) == ("1", "01", None, 5)


def test_keys() -> None:
    assert [key(v) for v in (3, 3.0, "3", 3.5, None, True)] == [3, 3, "3", None, None, None]
