"""One driver at a time writes a record, also where there are no locks; a superseded one writes nothing."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from pathlib import Path

import pytest
from elsewhere import forget_lock, newest_beat, on_another_machine, silence

from trainables.errors import LedgerError, SupersededError
from tuning.ledger.ledger import LEDGER, Ledger, read_records
from tuning.ledger.records import ExperimentRecord, ReportRecord, ResumedRecord, StartedRecord

HEADER = ExperimentRecord(name="a", file="name: a\n", experiment={"name": "a"})
STARTED = StartedRecord(trial=0, params={"learning_rate": 1e-4}, hash="h0")


def test_each_driver_has_a_number_of_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    with Ledger.create(folder, HEADER) as ledger:
        assert ledger.attempt == 1
    with Ledger.open(folder) as ledger:
        assert ledger.attempt == 2
        ledger.append(ResumedRecord(attempt=2))
    shutil.rmtree(folder / "attempts")
    with Ledger.open(folder) as ledger:
        assert ledger.attempt == 3


@pytest.mark.parametrize("elsewhere", [False, True])
def test_without_a_lock_a_second_driver_is_refused_while_the_first_lives(
    tmp_path: Path, *, elsewhere: bool
) -> None:
    folder = tmp_path / "a"
    with on_another_machine() if elsewhere else ExitStack():
        first = Ledger.create(folder, HEADER)
    forget_lock(folder)

    def beats(seconds: float) -> None:
        newest_beat(folder).write_text("77\n")

    with first:
        before = (folder / LEDGER).read_bytes()
        with pytest.raises(LedgerError, match=r"another driver is running a \(process \d+ on .*\);"):
            Ledger.open(folder, beats)
        assert (folder / LEDGER).read_bytes() == before
        first.append(STARTED)
    Ledger.open(folder).close()


def taken_over(folder: Path) -> Ledger:
    """A second driver, after the first one on another machine was silent for long."""
    silence(folder)
    return Ledger.open(folder)


def test_a_driver_that_was_silent_for_long_finds_another_one_and_writes_nothing_more(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    with on_another_machine():
        first = Ledger.create(folder, HEADER)
    forget_lock(folder)
    with first, taken_over(folder) as second:
        assert (first.superseded(), second.superseded()) == (True, False)
        before = (folder / LEDGER).read_bytes()
        for _ in range(2):  # also before the second one has written anything
            with pytest.raises(SupersededError, match=r"attempt 1, may write no more: .* attempt 2"):
                first.append(STARTED)
        assert (folder / LEDGER).read_bytes() == before
        second.append(STARTED)
    assert list(read_records(folder)) == [HEADER, STARTED]


@pytest.mark.parametrize("what", ["longer", "shorter", "replaced", "gone"])
def test_a_record_that_something_else_changes_is_not_written_any_more(tmp_path: Path, what: str) -> None:
    folder = tmp_path / "a"
    with Ledger.create(folder, HEADER) as ledger:
        ledger.append(STARTED)
        path = folder / LEDGER
        whole = path.read_bytes()
        if what in ("replaced", "gone"):
            path.rename(folder / "kept")
        if what != "gone":
            content = {"longer": whole + b"{}\n", "shorter": whole[:-9], "replaced": whole}[what]
            path.write_bytes(content)
        with pytest.raises(
            SupersededError, match="is gone" if what == "gone" else "something else writes it"
        ):
            ledger.append(ReportRecord(trial=0, epoch=1.0, step=1, objective=0.5))
        assert ledger.superseded()
        assert what == "gone" or path.read_bytes() == content
