"""A resumed sweep begins to be recorded with its first own record."""

from __future__ import annotations

from pathlib import Path

from recorded import LORA, Told, experiment, write

from tuning.experiment.space import config_hash
from tuning.ledger.ledger import LEDGER, Ledger, read_history, read_records
from tuning.ledger.outcomes import Ending, Outcome
from tuning.ledger.recorder import Recorder
from tuning.ledger.records import ClosedRecord, PreparedRecord, Record, ResumedRecord, StartedRecord


def test_nothing_is_written_before_the_first_record_of_its_own(tmp_path: Path) -> None:
    folder = write(tmp_path / "digits")
    before = (folder / LEDGER).read_bytes()
    resumed, heard, later = ResumedRecord(trials=20), list[Record](), list[Record]()
    with Ledger.open(folder) as ledger:
        recorder = Recorder(ledger, read_history(folder), heard.append, resumed=resumed)
        recorder.listen(later.append)
        assert recorder.pending is resumed
        assert recorder.before.finished
        assert not recorder.history.finished
        assert (folder / LEDGER).read_bytes() == before
        own = PreparedRecord(fingerprint="f")
        recorder.record(own)
        assert recorder.pending is None
        recorder.record(closed := ClosedRecord(reason=Ending.FINISHED))
    assert list(read_records(folder))[-3:] == [resumed, own, closed]
    assert heard == [resumed, own, closed]
    assert later == [own, closed]  # it began with a history that holds the other
    assert (folder / LEDGER).read_bytes().startswith(before)


def test_moved_data_are_read_at_their_last_place_by_every_reader(tmp_path: Path) -> None:
    masks = {"train": {"images": "/a/images", "masks": "/a/masks"}, "classes": ["x", "y"]}
    folder = write(tmp_path / "drawn", of=experiment("drawn", data={"masks": masks}))
    with Ledger.open(folder) as ledger:
        for moved in ({"/a": "/b"}, {"/b/masks": "/c"}):
            ledger.append(ResumedRecord(moved=moved))
        ledger.append(ClosedRecord(reason=Ending.FINISHED))
    history = read_history(folder)
    data = history.header.experiment["data"]
    assert isinstance(data, dict)
    assert data["masks"]["train"] == {"images": "/b/images", "masks": "/c"}  # type: ignore[index,call-overload]
    assert history.moves == ({"/a": "/b"}, {"/b/masks": "/c"})
    assert history.finished


def test_each_start_of_a_trial_gets_the_next_number(tmp_path: Path) -> None:
    folder = write(tmp_path / "digits", (Told(LORA, (0.4,), Outcome.INTERRUPTED),))
    with Ledger.open(folder) as ledger:
        recorder = Recorder(ledger, read_history(folder))
        assert recorder.trial(0).starts == 1  # of before, counted
        for params in (LORA, LORA, {"learning_rate": 0.5}):
            number = 0 if params is LORA else 1
            recorder.record(StartedRecord(trial=number, params=params, hash=config_hash(params)))
        assert [recorder.trial(number).starts for number in (0, 1)] == [3, 1]
    found = [record for record in read_records(folder) if isinstance(record, StartedRecord)]
    assert [(record.trial, record.start) for record in found] == [(0, None), (0, 2), (0, 3), (1, 1)]
    assert read_history(folder).trials[0].starts == 3
