from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from edited_records import without_checksums
from recorded import LORA, Told, write

from trainables.errors import LedgerError
from tuning.experiment.space import config_hash
from tuning.ledger.checksum import Checksum, checksum_of, with_checksum
from tuning.ledger.ledger import LEDGER, Ledger, last_record, read_history, read_records
from tuning.ledger.outcomes import Outcome
from tuning.ledger.parent import Parent, child_hash
from tuning.ledger.records import AddedRecord, ClosedRecord, EndedRecord, ResumedRecord, StartedRecord

TRIALS = (Told(LORA, (0.4, 0.5)), Told(LORA | {"learning_rate": 0.5}, (0.1,), Outcome.PRUNED))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "digits", TRIALS)


def lines_of(folder: Path) -> list[bytes]:
    return (folder / LEDGER).read_bytes().splitlines(keepends=True)


def rewrite(folder: Path, change: Callable[[list[bytes]], list[bytes]]) -> Path:
    (folder / LEDGER).write_bytes(b"".join(change(lines_of(folder))))
    return folder


def plain(line: bytes) -> bytes:
    held = json.loads(line)
    held.pop("crc")
    return json.dumps(held).encode() + b"\n"


def test_every_line_that_is_written_has_a_checksum(folder: Path) -> None:
    assert {checksum_of(line) for line in lines_of(folder)} == {Checksum.RIGHT}


def test_a_record_of_before_is_read_and_goes_on_with_checksums(folder: Path) -> None:
    before = list(read_records(folder))
    without_checksums(folder)
    assert list(read_records(folder)) == before
    more = [ResumedRecord(trials=5), StartedRecord(trial=2, params={"a": 1}, hash=config_hash({"a": 1}))]
    with Ledger.open(folder) as ledger:
        for record in more:
            ledger.append(record)
    assert list(read_records(folder)) == [*before, *more]
    assert last_record(folder) == more[-1]


@pytest.mark.parametrize("number", [3, 5, -1])
def test_a_line_without_a_checksum_after_one_with_it_is_damaged(folder: Path, number: int) -> None:
    rewrite(folder, lambda lines: [*lines[:number], plain(lines[number]), *lines[number:][1:]])
    at = number if number > 0 else len(lines_of(folder)) + number
    with pytest.raises(LedgerError, match=f"line {at + 1} is damaged: it has no checksum"):
        read_history(folder)


def test_lines_that_have_lost_their_checksums_are_none_of_before(folder: Path) -> None:
    rewrite(folder, lambda lines: [plain(lines[0]), *lines[1:]])
    with pytest.raises(LedgerError, match="line 1 is damaged: it has lost its checksum"):
        read_history(folder)
    rewrite(folder, lambda lines: [lines[0], plain(lines[1]), plain(lines[2]), *lines[3:]])
    with pytest.raises(LedgerError, match="line 3 is damaged: it has lost its checksum"):
        read_history(folder)


def test_the_message_of_a_damaged_first_line_names_the_two_ways_out(folder: Path) -> None:
    rewrite(folder, lambda lines: [lines[0].replace(b"digits", b"digitz", 1), *lines[1:]])
    with pytest.raises(LedgerError, match=r"It held the experiment\..*`adaptertune repair .*a copy of the"):
        read_history(folder)


def test_the_message_says_what_is_lost_and_the_way_out(folder: Path) -> None:
    number = next(i for i, line in enumerate(lines_of(folder)) if b'"kind":"report","trial":1' in line)
    rewrite(
        folder, lambda lines: [*lines[:number], lines[number].replace(b"0.1", b"0.9"), *lines[number:][1:]]
    )
    said = (
        rf"ledger\.jsonl, line {number + 1} is damaged: its checksum does not match\. Lost is a line"
        rf" 'report' of trial 1\. `adaptertune repair {folder}` writes a valid copy beside it"
    )
    with pytest.raises(LedgerError, match=said):
        read_history(folder)


def test_a_line_of_a_newer_version_is_not_called_damaged(folder: Path) -> None:
    rewrite(folder, lambda lines: [*lines, with_checksum(b'{"time":1.0,"kind":"dream"}')])
    with pytest.raises(LedgerError, match="a newer adaptertune wrote it") as caught:
        read_history(folder)
    assert "repair" not in str(caught.value)


def test_a_damaged_line_break_at_the_end_is_no_torn_line(folder: Path) -> None:
    whole = (folder / LEDGER).read_bytes()
    (folder / LEDGER).write_bytes(whole[:-1] + b"\x0b")
    for read in (
        lambda: list(read_records(folder)),
        lambda: last_record(folder),
        lambda: Ledger.open(folder),
    ):
        with pytest.raises(LedgerError, match="does not end with a line break"):
            read()
    assert (folder / LEDGER).read_bytes() == whole[:-1] + b"\x0b"
    (folder / LEDGER).write_bytes(whole[:-1])  # torn
    assert not isinstance(last_record(folder), ClosedRecord)
    Ledger.open(folder).close()
    assert (folder / LEDGER).read_bytes() == b"".join(whole.splitlines(keepends=True)[:-1])


CHILD = Parent(trial=0, state=True, file="f.ckpt", epochs=9)


@pytest.mark.parametrize(
    "record",
    [
        StartedRecord(trial=2, params={"a": 1}, hash=config_hash({"a": 1})),
        StartedRecord(trial=2, params={"a": 1}, hash=child_hash({"a": 1}, CHILD), parent=CHILD),
        AddedRecord(params={"a": 1}, hash=config_hash({"a": 1}), asked=1.0),
    ],
)
@pytest.mark.parametrize(("was", "now"), [(b'"a":1', b'"a":3'), (b'"hash":"', b'"hash":"0')])
def test_parameters_of_before_are_checked_by_their_hash(
    folder: Path, record: StartedRecord | AddedRecord, was: bytes, now: bytes
) -> None:
    without_checksums(folder)
    line = record.model_dump_json(by_alias=True).encode() + b"\n"
    rewrite(folder, lambda lines: [*lines, line])
    read_history(folder)
    rewrite(folder, lambda lines: [*lines[:-1], line.replace(was, now)])
    with pytest.raises(LedgerError, match="its parameters do not have the hash that it says"):
        read_history(folder)


@pytest.mark.parametrize(
    ("ended", "said"),
    [
        (
            EndedRecord(trial=2, outcome=Outcome.COMPLETED, value=0.5),
            "value 0.5, but its last report has None",
        ),
        (EndedRecord(trial=2, outcome=Outcome.REUSED, of=0, value=0.4), "0.4, but its last report has 0.5"),
        (EndedRecord(trial=2, outcome=Outcome.REUSED, of=0, value=0.5), None),
        (EndedRecord(trial=2, outcome=Outcome.REUSED, of=0), None),
        (EndedRecord(trial=2, outcome=Outcome.FAILED), None),
    ],
)
def test_the_value_of_an_end_is_checked_against_the_reports(
    folder: Path, ended: EndedRecord, said: str | None
) -> None:
    with Ledger.open(folder) as ledger:
        ledger.append(StartedRecord(trial=2, params=LORA, hash=config_hash(LORA)))
        ledger.append(ended)
    if said is None:
        read_history(folder)
        return
    with pytest.raises(LedgerError, match=said) as caught:
        read_history(folder)
    assert f"line {len(lines_of(folder))}: trial 2 ended" in str(caught.value)
