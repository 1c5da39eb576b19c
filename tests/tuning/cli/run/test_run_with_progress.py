from __future__ import annotations

import pytest

from tuning.cli.run import run_with_progress
from tuning.cli.run.run_with_progress import FOR_CONCLUSION, _then_imports
from tuning.ledger.records import ClosedRecord, Ending, Record, StoppedBy, StoppedRecord


def test_when_the_record_is_closed_the_imports_of_the_conclusion_begin(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun: list[tuple[str, ...]] = []
    monkeypatch.setattr(run_with_progress, "import_in_background", begun.append)
    heard: list[Record] = []
    listener = _then_imports(heard.append)
    records = [
        StoppedRecord(trial=0, by=StoppedBy.USER, epoch=1.0),
        ClosedRecord(reason=Ending.FINISHED),
    ]
    listener(records[0])
    assert begun == []
    listener(records[1])
    assert begun == [FOR_CONCLUSION]
    assert heard == records


@pytest.mark.parametrize("module", FOR_CONCLUSION)
def test_the_modules_of_the_conclusion_are_there(module: str) -> None:
    from importlib.util import find_spec

    assert find_spec(module) is not None
