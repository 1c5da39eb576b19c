"""What is kept of a damaged record: which lines fall with a damaged one, and what is true of the rest."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from edited_records import without_checksums
from pydantic import JsonValue
from random_records import header_of, random_experiment, random_records
from recorded import LORA, Told, write

from trainables.errors import LedgerError
from tuning.experiment.space import config_hash
from tuning.ledger.checksum import Checksum, checksum_of, with_checksum
from tuning.ledger.ledger import LEDGER, read_history
from tuning.ledger.outcomes import Outcome, StoppedBy
from tuning.ledger.parent import Parent
from tuning.ledger.records import (
    AddedRecord,
    BuiltRecord,
    EndedRecord,
    ExperimentRecord,
    PausedRecord,
    Record,
    ReportRecord,
    ResumedRecord,
    ScoredRecord,
    ScoringRecord,
    StartedRecord,
    StoppedRecord,
)
from tuning.ledger.repair import repaired
from tuning.ledger.repaired_copy import examine_record, write_copy

PARAMS: dict[str, JsonValue] = {"learning_rate": 0.1}
HASH = config_hash(PARAMS)


def written(record: Record) -> bytes:
    return with_checksum(record.model_dump_json(by_alias=True).encode())


def spoilt(line: bytes) -> bytes:
    """A line with more damage than can be undone."""
    return b"#" * 20 + line[20:]


def started(trial: int, parent: Parent | None = None) -> StartedRecord:
    return StartedRecord(trial=trial, params=PARAMS, hash=HASH, parent=parent)


def reported(trial: int, epoch: float, value: float = 0.5) -> ReportRecord:
    return ReportRecord(trial=trial, epoch=epoch, step=int(epoch), objective=value)


def ended(trial: int, outcome: Outcome = Outcome.COMPLETED, value: float | None = 0.5) -> EndedRecord:
    return EndedRecord(trial=trial, outcome=outcome, value=value)


HEADER = ExperimentRecord(name="a", file="", experiment={"name": "a"})
OF_TRIAL_0 = Parent(trial=0, state=True, file="f.ckpt", epoch=1.0)
STOPPED_0 = StoppedRecord(trial=0, by=StoppedBy.ASHA)
CASES: dict[str, tuple[list[Record], int, list[int]]] = {
    "a report alone": ([started(0), reported(0, 1), reported(0, 2), ended(0)], 1, [1]),
    "the last report, which the end rests on": (
        [started(0), reported(0, 1, 0.4), reported(0, 2), ended(0), started(1)], 2, [2, 3],
    ),
    "the start of a trial, and all that is of it": (
        [started(0), BuiltRecord(trial=0, parameters={}), reported(0, 1),
         STOPPED_0, ended(0, Outcome.PRUNED), PausedRecord(trial=0, asked=1.0), started(1), reported(1, 1)],
        0, [0, 1, 2, 3, 4, 5],
    ),
    "a start; the trial started once more": (
        [started(0), reported(0, 1), started(0), reported(0, 1), ended(0)], 0, [0, 1],
    ),
    "the second start after an interruption": (
        [started(0), reported(0, 1), ended(0, Outcome.INTERRUPTED), started(0), reported(0, 2, 0.6),
         ended(0, value=0.6), started(1)],
        3, [3, 4, 5],
    ),
    "the second start after a failure": (
        [started(0), ended(0, Outcome.FAILED, None), started(0), reported(0, 1), ended(0)], 2, [2, 3, 4],
    ),
    "a trial that others began with, and their children": (
        [started(0), reported(0, 1), AddedRecord(params=PARAMS, hash="h", asked=1.0, parent=OF_TRIAL_0),
         started(1, OF_TRIAL_0), reported(1, 2)],
        0, [0, 1, 2, 3, 4],
    ),
    "a trial whose result another took": (
        [started(0), reported(0, 1), ended(0), started(1),
         EndedRecord(trial=1, outcome=Outcome.REUSED, of=0)],
        0, [0, 1, 2, 4],
    ),
    "a scored trial": (
        [started(0), started(1), ScoringRecord(trials=[0, 1]), ScoredRecord(trial=0), ScoredRecord(trial=1),
         ScoredRecord(trial=None)],
        0, [0, 2, 3],
    ),
    "an end": ([started(0), reported(0, 1), ended(0), started(1)], 2, [2]),
    "what a resume said": ([started(0), ResumedRecord(trials=9), started(0)], 1, [1]),
}  # fmt: skip


@pytest.mark.parametrize(("records", "damage", "lost"), CASES.values(), ids=CASES)
def test_what_falls_with_a_damaged_line(records: list[Record], damage: int, lost: list[int]) -> None:
    lines = [written(record) for record in records]
    spoiled = [*lines[:damage], spoilt(lines[damage]), *lines[damage + 1 :]]
    found = repaired(b"".join([written(HEADER), *spoiled]))
    assert [change.number - 2 for change in found.left_out] == lost
    assert found.lines[1:] == tuple(line for number, line in enumerate(lines) if number not in lost)
    assert not found.restored


def test_a_valid_record_needs_no_repair(tmp_path: Path) -> None:
    folder = write(tmp_path / "digits")
    content = (folder / LEDGER).read_bytes()
    for torn in (b"", content[:30]):
        found = repaired(content + torn)
        assert not found.damaged
        assert b"".join(found.lines) == content


@pytest.mark.parametrize("content", [b"", b"{", b'{"kind": "closed", "reason": "finished"}\n'])
def test_without_the_first_line_there_is_nothing_to_repair(content: bytes) -> None:
    with pytest.raises(LedgerError, match="nothing to repair"):
        repaired(content)
    with pytest.raises(LedgerError, match="which holds the experiment, cannot be restored"):
        repaired(spoilt(written(HEADER)) + written(started(0)))


def test_a_lost_line_break_between_two_lines_is_put_back() -> None:
    lines = [written(record) for record in (HEADER, started(0), reported(0, 1))]
    found = repaired(lines[0] + lines[1][:-1] + b"\x0b" + lines[2])
    assert found.lines == tuple(lines)
    assert [change.why for change in found.restored] == ["its line break was lost"]


def test_the_lines_of_a_record_of_before_get_checksums(tmp_path: Path) -> None:
    folder = without_checksums(write(tmp_path / "digits", [Told(LORA, (0.4, 0.5)), Told(LORA, (0.2,))]))
    lines = (folder / LEDGER).read_bytes().splitlines(keepends=True)
    number = next(i for i, line in enumerate(lines) if b'"started","trial":1' in line)
    lines[number] = lines[number].replace(b"lora", b"loha")
    found = repaired(b"".join(lines))
    assert {checksum_of(line) for line in found.lines} == {Checksum.RIGHT}
    assert found.left_out[0].why == "its parameters do not have the hash that it says"
    assert set(found.history.trials) == {0}


def damaged_anywhere(rng: random.Random, lines: Sequence[bytes]) -> bytes:
    """The header, and the other lines with some of them lost, cut, doubled or overwritten."""
    found = [lines[0]]
    for line in lines[1:]:
        kind = rng.choices(("whole", "lost", "cut", "spoilt", "twice"), (20, 1, 1, 1, 1))[0]
        found += {
            "whole": [line], "lost": [], "cut": [line[: rng.randrange(len(line))]], "spoilt": [spoilt(line)],
            "twice": [line, line],
        }[kind]  # fmt: skip
    return b"".join(found)


@pytest.mark.parametrize("seed", range(30))
def test_what_is_kept_of_a_random_record_is_valid_and_was_in_it(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    asked = random_experiment(rng)
    lines = [written(record) for record in (header_of(asked), *random_records(rng, asked))]
    found = repaired(damaged_anywhere(rng, lines))
    assert set(found.lines) <= set(lines)
    (tmp_path / LEDGER).write_bytes(b"".join(found.lines))
    history = read_history(tmp_path)
    assert history.trials == found.history.trials
    assert not repaired(b"".join(found.lines)).damaged


def test_a_copy_has_checkpoints_and_logs_and_leaves_the_original_alone(tmp_path: Path) -> None:
    folder = write(tmp_path / "digits", [Told(LORA, (0.4,))])
    trial = folder / "trials" / "0000"
    trial.mkdir(parents=True)
    (trial / "best.ckpt").write_bytes(b"weights")
    (trial / "log.txt").write_text("begun\n")
    (folder / "tables").mkdir()
    lines = (folder / LEDGER).read_bytes().splitlines(keepends=True)
    damaged = b"".join([*lines[:-1], spoilt(lines[-1])])
    (folder / LEDGER).write_bytes(damaged)
    write_copy(folder, tmp_path / "copy", examine_record(folder))
    copied = tmp_path / "copy" / "trials" / "0000"
    assert (copied / "best.ckpt").read_bytes() == b"weights"
    with (copied / "log.txt").open("a") as file:
        file.write("more\n")
    assert (trial / "log.txt").read_text() == "begun\n"
    assert not (tmp_path / "copy" / "tables").exists()
    assert read_history(tmp_path / "copy").closed is None
    assert (folder / LEDGER).read_bytes() == damaged
