"""The metrics of a report: as a dictionary in use and in the record, with their names shared."""

from __future__ import annotations

import copy
import math
import pickle
import tracemalloc
from typing import Any

import pytest
from pydantic import ValidationError

from tuning.ledger.records import ReportRecord
from tuning.ledger.report_metrics import ReportMetrics

NAMES = [f"metric/{number}" for number in range(100)]


def report(metrics: Any) -> ReportRecord:
    fields = {"trial": 0, "epoch": 1.0, "step": 3, "objective": 0.5, "time": 1.0}
    return ReportRecord.model_validate(fields | {"metrics": metrics})


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, None])
def test_what_has_no_value_is_none_as_when_it_is_read_back(number: float | None) -> None:
    record = report({"map": 0.25, "map/cat": number, "count": 3})
    assert record.metrics == {"map": 0.25, "map/cat": None, "count": 3.0}
    assert list(record.metrics) == ["map", "map/cat", "count"]
    line = record.model_dump_json()
    assert '"metrics":{"map":0.25,"map/cat":null,"count":3.0}' in line
    assert ReportRecord.model_validate_json(line) == record


def test_copies_are_equal() -> None:
    record = report({"map": 0.1, "map/cat": None})
    assert copy.deepcopy(record) == pickle.loads(pickle.dumps(record)) == record
    assert ReportRecord.model_validate(record.model_dump()) == record
    assert record.metrics != {"map": 0.1}
    assert report(record.metrics).metrics is record.metrics
    assert repr(record.metrics) == "{'map': 0.1, 'map/cat': None}"
    with pytest.raises(KeyError):
        record.metrics["map/dog"]


@pytest.mark.parametrize(
    ("bad", "place"),
    [({"map": "0.5"}, "metrics.map"), ({"map": True}, "metrics.map"), ([1], "metrics"), (None, "metrics")],
)
def test_what_is_no_metric_is_refused_at_its_place(bad: Any, place: str) -> None:
    with pytest.raises(ValidationError) as raised:
        report(bad)
    (error,) = raised.value.errors()
    assert ".".join(str(part) for part in error["loc"]) == place


def test_a_hundred_metrics_take_a_fifth_of_a_dictionary_or_less() -> None:
    def held(make: Any) -> int:
        tracemalloc.start()
        kept = [make(number) for number in range(200)]
        size = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert len(kept) == 200
        return size

    # Names are made anew, as those of each report that a worker sends.
    def values(number: int) -> dict[str, float | None]:
        return {"".join(name): number + place / 7 for place, name in enumerate(NAMES)}

    ReportMetrics(values(0))
    assert held(lambda number: ReportMetrics(values(number))) < held(values) / 5
