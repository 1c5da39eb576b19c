"""The Parquet tables compared with the record that they are a view of."""

from __future__ import annotations

import itertools
import json
import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pytest
from edited_records import edit_record
from filelock import FileLock
from recorded import LORA, SCORES, TRIALS, Told, experiment, write

from trainables.errors import LedgerError, StorageError
from tuning.ledger.ledger import LEDGER, Ledger, read_header, read_history
from tuning.ledger.outcomes import Outcome
from tuning.ledger.records import EndedRecord, ReportRecord, ScoredRecord, StartedRecord
from tuning.tables import parquet_parts as tables
from tuning.tables.parquet_parts import FOLDER, TablePart, Tables, resume_folding, table_files, valid_parts
from tuning.tables.relations import sql_parquet
from tuning.tables.rows import epoch_row, trial_row


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of four kilobytes, so that a small record has many."""
    monkeypatch.setattr(tables, "PART_BYTES", 4000)
    monkeypatch.setattr(tables, "WHOLE", 4000)
    monkeypatch.setattr(tables, "FAN", 4)


def compact(folder: Path) -> tuple[TablePart, ...]:
    header = read_header(folder)
    written = Tables(folder, experiment(folder.name), header)
    written.begin(read_history(folder))
    written.close()
    return valid_parts(folder, thorough=True)


def rows(folder: Path, table: str, order: str = "ALL") -> list[tuple[Any, ...]]:
    """A table's rows, as they are in the files."""
    files = table_files(folder, valid_parts(folder), table)
    return duckdb.sql(f"SELECT * FROM {sql_parquet(files)} ORDER BY {order}").fetchall() if files else []


def newest(folder: Path) -> dict[int, tuple[Any, ...]]:
    """The newest row of each trial in the files."""
    asked = "trial, outcome, value, epoch, best, last, ran, seconds, params, stopped_by, reason"
    files = table_files(folder, valid_parts(folder), "trials")
    found = duckdb.sql(f"SELECT {asked} FROM {sql_parquet(files)} ORDER BY upto").fetchall()
    return {row[0]: row[1:] for row in found}


def from_the_record(folder: Path) -> dict[int, tuple[Any, ...]]:
    """The rows that the files must contain."""
    found = {}
    for number, trial in read_history(folder).trials.items():
        row = trial_row(trial, experiment(folder.name), from_byte=0, upto=0)
        names = (
            "outcome",
            "value",
            "epoch",
            "best",
            "last",
            "ran",
            "seconds",
            "params",
            "stopped_by",
            "reason",
        )
        found[number] = tuple(row[name] for name in names)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "digits", TRIALS * 3, scores=SCORES)


def test_every_byte_of_the_record_is_in_one_part_and_every_report_in_one_row(folder: Path) -> None:
    parts = compact(folder)
    assert parts[0].start == 0
    assert parts[-1].end == (folder / LEDGER).stat().st_size
    assert all(a.end == b.start for a, b in itertools.pairwise(parts))
    assert 1 < len(parts) <= 12
    assert max(part.end - part.start for part in parts) > 4 * 4000  # neighbours were merged
    reports = [r for t in read_history(folder).trials.values() for r in t.reports]
    assert len(rows(folder, "epochs")) == len(reports)
    assert newest(folder) == from_the_record(folder)
    lines = (folder / LEDGER).read_bytes().splitlines()
    assert len(rows(folder, "events")) == len(lines) - len(reports)
    assert len(rows(folder, "scores")) == len(SCORES)


def test_the_record_itself_is_left_as_it_is_and_closed_tables_are_not_written_again(folder: Path) -> None:
    before = (folder / LEDGER).read_bytes()
    parts = compact(folder)
    assert compact(folder) == parts  # what was merged away goes now that no reader has it open
    written = {path: path.stat().st_mtime_ns for path in (folder / FOLDER).rglob("*.parquet")}
    assert compact(folder) == parts
    assert {path: path.stat().st_mtime_ns for path in (folder / FOLDER).rglob("*.parquet")} == written
    assert (folder / LEDGER).read_bytes() == before


@pytest.mark.parametrize("every", [3, 11])
def test_a_record_that_grows_gives_the_same_rows_as_a_whole_one(
    tmp_path: Path, folder: Path, every: int
) -> None:
    lines = (folder / LEDGER).read_bytes().splitlines(keepends=True)
    growing = tmp_path / "growing" / "digits"
    growing.mkdir(parents=True)
    with (growing / LEDGER).open("wb", buffering=0) as file:
        file.write(lines[0])
        written = Tables(growing, experiment("digits"), read_header(growing))
        written.open(1.0)
        for place, line in enumerate(lines[1:]):
            file.write(line[: len(line) // 2])
            if place % every == 0:
                written.settle()  # in the middle of a line, too
            file.write(line[len(line) // 2 :])
        written.close()
    compact(folder)
    assert newest(growing) == newest(folder)
    for table in ("epochs", "events", "scores"):
        assert rows(growing, table, "byte") == rows(folder, table, "byte")


def test_nothing_is_kept_of_trials_that_have_ended(folder: Path) -> None:
    follows = resume_folding(folder, read_header(folder), experiment("digits"), ())
    follows.take()
    assert not follows.history.trials
    assert not follows.open


def test_the_number_of_parts_and_how_often_a_row_is_written_grow_with_the_logarithm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "many", TRIALS * 12)
    written: list[int] = []
    finish = Tables._finish

    def counted(self: Tables, place: Path, start: int, end: int, *rest: Any) -> TablePart:
        written.append(end - start)
        return finish(self, place, start, end, *rest)

    monkeypatch.setattr(Tables, "_finish", counted)
    parts = compact(folder)
    size = (folder / LEDGER).stat().st_size
    levels = 1 + len(f"{size // 4000:b}") / 2  # log₄
    assert size > 15 * 4000
    assert len(parts) <= 3 * levels + 1
    assert sum(written) <= size * (levels + 1)


# --- parts that are written again -------------------------------------------------------------


def deleted(folder: Path, parts: Sequence[TablePart]) -> None:
    shutil.rmtree(folder / FOLDER)


def one_deleted(folder: Path, parts: Sequence[TablePart]) -> None:
    shutil.rmtree(folder / FOLDER / parts[1].name)


def torn(folder: Path, parts: Sequence[TablePart]) -> None:
    file = folder / FOLDER / parts[1].name / "trials.parquet"
    file.write_bytes(file.read_bytes()[:-100])


def flipped(folder: Path, parts: Sequence[TablePart]) -> None:
    file = folder / FOLDER / parts[0].name / "trials.parquet"
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 0xFF
    file.write_bytes(content)


def no_json(folder: Path, parts: Sequence[TablePart]) -> None:
    (folder / FOLDER / parts[-1].name / "part.json").write_text('{"schema": 1')


def of_another_record(folder: Path, parts: Sequence[TablePart]) -> None:
    edit_record(folder, lambda text: text.replace('"time":1', '"time":2'))


def left_half_written(folder: Path, parts: Sequence[TablePart]) -> None:
    (folder / FOLDER / parts[0].name).rename(folder / FOLDER / ".writing-0-4000")


@pytest.mark.parametrize(
    "harm", [deleted, one_deleted, torn, flipped, no_json, of_another_record, left_half_written]
)
def test_what_is_lost_or_does_not_fit_comes_back(
    folder: Path, harm: Callable[[Path, Sequence[TablePart]], None]
) -> None:
    harm(folder, compact(folder))
    parts = compact(folder)
    assert parts[-1].end == (folder / LEDGER).stat().st_size
    assert newest(folder) == from_the_record(folder)
    assert compact(folder) == parts
    assert {p.name for p in (folder / FOLDER).iterdir()} - {".lock"} == {part.name for part in parts}


def test_a_trial_that_resumes_after_its_part_was_written_is_read_again(folder: Path) -> None:
    compact(folder)
    trial = read_history(folder).trials[1]
    with Ledger.open(folder) as ledger:
        ledger.append(StartedRecord(trial=1, params=dict(trial.params), hash=trial.hash))
        ledger.append(ReportRecord(trial=1, epoch=2.0, step=20, objective=0.9, metrics={"dice": 0.9}))
        ledger.append(EndedRecord(trial=1, outcome=Outcome.COMPLETED, value=0.9, epoch=2.0))
    compact(folder)
    assert newest(folder)[1] == from_the_record(folder)[1]
    assert newest(folder)[1][:3] == ("completed", 0.9, 2.0)
    files = table_files(folder, valid_parts(folder), "epochs")
    replacing = duckdb.sql(f"SELECT trial, epoch FROM {sql_parquet(files)} WHERE replaces").fetchall()
    assert replacing == [(1, 2.0)]


def test_only_rows_of_packed_trials_have_lanes(tmp_path: Path) -> None:
    alone = ReportRecord(trial=0, epoch=1.0, step=3, objective=0.5, train_s=2.0)
    packed = alone.model_copy(update={"lanes": 4})
    assert "lanes" not in epoch_row(alone, byte=0, replaces=False)
    assert epoch_row(packed, byte=0, replaces=False)["lanes"] == 4


def test_running_trials_are_rows_too_and_their_end_follows(tmp_path: Path) -> None:
    folder = write(tmp_path / "live", (Told(LORA, (0.2, 0.3), None),), closed=None)
    assert compact(folder)[-1].open.keys() == {0}
    assert newest(folder)[0][0] == "running"
    with Ledger.open(folder) as ledger:
        ledger.append(EndedRecord(trial=0, outcome=Outcome.PRUNED, value=0.3, epoch=2.0))
    compact(folder)
    assert newest(folder)[0] == from_the_record(folder)[0]


def test_a_torn_last_line_waits_until_it_is_whole(folder: Path) -> None:
    with (folder / LEDGER).open("ab") as file:
        file.write(b'{"time":1.0,"kind":"rep')
    assert compact(folder)[-1].end < (folder / LEDGER).stat().st_size
    with Ledger.open(folder) as ledger:
        ledger.append(ScoredRecord(trial=0, epoch=5.0, metrics={"dice": 0.5}))
    assert compact(folder)[-1].end == (folder / LEDGER).stat().st_size
    assert len(rows(folder, "scores")) == len(SCORES) + 1


# --- damage -----------------------------------------------------------------------------------


def test_two_writers_do_not_meet(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "LOCK_S", 0.1)
    (folder / FOLDER).mkdir()
    with (
        FileLock(folder / FOLDER / tables.LOCK),
        pytest.raises(StorageError, match="another process is writing"),
    ):
        compact(folder)
    assert compact(folder)


def test_a_damaged_line_is_named_by_its_number(folder: Path) -> None:
    text = (folder / LEDGER).read_text().splitlines(keepends=True)
    (folder / LEDGER).write_text("".join([*text[:9], "{}\n", *text[9:]]))
    with pytest.raises(LedgerError, match="line 10"):
        compact(folder)


def test_a_part_that_cannot_be_written_leaves_nothing_behind(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(tables, "_copy", full)
        with pytest.raises(OSError, match="No space"):
            compact(folder)
        assert {path.name for path in (folder / FOLDER).iterdir()} == {tables.LOCK}
    # its lock ended with the thread that held it, like a driver's
    assert compact(folder)


def test_a_reader_beside_the_writer_sees_every_trial_at_any_time(tmp_path: Path, folder: Path) -> None:
    from analysis.query.sql import opened

    lines = (folder / LEDGER).read_bytes().splitlines(keepends=True)
    growing = tmp_path / "growing" / "digits"
    growing.mkdir(parents=True)
    (growing / LEDGER).write_bytes(b"".join(lines[:2]))
    over = threading.Event()
    faults: list[object] = []

    def ask() -> None:
        while not over.is_set():
            before = (growing / LEDGER).read_bytes().count(b'"kind":"ended"')
            try:
                with opened([growing]) as source:
                    sql = "SELECT count(*) FROM trials WHERE ended IS NOT NULL"
                    (count,) = source.ask(sql).fetchall()[0]
            except Exception as error:
                faults.append(error)
                return
            if count < before:
                faults.append((count, before))

    reader = threading.Thread(target=ask)
    reader.start()
    written = Tables(growing, experiment("digits"), read_header(growing))
    written.open(1.0)
    with (growing / LEDGER).open("ab", buffering=0) as file:
        for line in lines[2:]:
            file.write(line)
            written.settle()
    written.close()
    over.set()
    reader.join()
    assert not faults
    assert (
        json.loads((growing / FOLDER / valid_parts(growing)[0].name / "part.json").read_text())["start"] == 0
    )
