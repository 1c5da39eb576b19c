"""Sweeps that grow, vanish, come back and end while their page is open."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from recorded import LORA, Told, write

from trainables.errors import LedgerError, StorageError
from tuning.cli.live.sweeps import LiveSweeps, experiments_of
from tuning.ledger.checksum import with_checksum
from tuning.ledger.driver_state import LOCK
from tuning.ledger.ledger import LEDGER
from tuning.ledger.outcomes import Ending, Outcome
from tuning.ledger.records import ClosedRecord, EndedRecord, Record, ReportRecord

LIVE = (Told(LORA | {"learning_rate": 0.005, "lora.rank": 8}, (0.3, 0.5), None),)
REPORT = ReportRecord(trial=0, epoch=3.0, step=30, objective=0.7, metrics={"dice": 0.7})
OF_NO_TRIAL = REPORT.model_copy(update={"trial": 9})


class Viewer:
    """A viewer of one sweep; looks again after a time that is always enough."""

    def __init__(self, folder: Path) -> None:
        self.now = 0.0
        self.sweeps = LiveSweeps([folder], clock=lambda: self.now)
        self.seen = ""
        self.parts: dict[str, Any] = {}

    def look(self) -> dict[str, Any]:
        """What has changed; all parts are kept in `parts`."""
        self.now += 100.0
        text, self.seen = self.sweeps.event(self.seen)
        if text is None:
            return {}
        (change,) = json.loads(text.partition("data: ")[2])["changes"]
        if change["anew"]:
            self.parts = {}
        self.parts |= change["parts"]
        found: dict[str, Any] = change
        return found

    @property
    def head(self) -> dict[str, Any]:
        found: dict[str, Any] = self.parts["head"]
        return found


def append(folder: Path, *records: Record, torn: bytes = b"") -> None:
    with (folder / LEDGER).open("ab") as file:
        for record in records:
            file.write(with_checksum(record.model_dump_json(by_alias=True).encode()))
        file.write(torn)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "live", LIVE, closed=None)


def test_a_new_viewer_gets_the_trials_first_and_the_sections_then(folder: Path) -> None:
    viewer = Viewer(folder)
    assert {"head", "curves", "space", "trial 0"} <= viewer.look()["parts"].keys()
    assert viewer.look()["parts"].keys() == {
        "highlights",
        *(f"section {s}" for s in ("failures", "cost", "pareto", "searched")),
    }
    assert viewer.look() == {}


def test_a_report_is_sent_alone_and_a_torn_line_when_it_is_whole(folder: Path) -> None:
    with FileLock(folder / LOCK):
        viewer = Viewer(folder)
        viewer.look()
        viewer.look()
        line = with_checksum(REPORT.model_dump_json(by_alias=True).encode())
        append(folder, torn=line[:30])
        assert viewer.look() == {}
        append(folder, torn=line[30:])
        change = viewer.look()
        assert change["points"] == {"0": [2, [[3.0, 0.7]]]}
        assert change["parts"]["trial 0"]["value"] == 0.7
        assert viewer.head["state"] == "running"


def test_a_sweep_that_ends_and_one_whose_driver_dies(folder: Path) -> None:
    lock = FileLock(folder / LOCK)
    lock.acquire()
    viewer = Viewer(folder)
    viewer.look()
    lock.release()
    viewer.look()
    assert viewer.head["state"] == "died"
    assert viewer.parts["trial 0"]["state"] == "unfinished"
    append(
        folder,
        REPORT,
        EndedRecord(trial=0, outcome=Outcome.COMPLETED, value=0.7, epoch=3.0),
        ClosedRecord(reason=Ending.FINISHED),
    )
    viewer.look()
    assert viewer.head["state"] == "finished"
    assert viewer.parts["trial 0"]["state"] == "completed"


def test_storage_that_vanishes_is_said_and_what_was_shown_stays(folder: Path) -> None:
    viewer = Viewer(folder)
    viewer.look()
    away = folder.rename(folder.with_name("away"))
    viewer.look()
    assert "is gone" in viewer.head["trouble"]
    assert "trial 0" in viewer.parts
    shutil.move(away, folder)
    append(folder, REPORT)
    viewer.look()
    assert viewer.head["trouble"] == ""
    assert viewer.parts["trial 0"]["value"] == 0.7


def test_another_sweep_of_that_name_replaces_the_page(folder: Path) -> None:
    viewer = Viewer(folder)
    viewer.look()
    viewer.look()
    shutil.rmtree(folder)
    write(folder, (Told(LORA | {"learning_rate": 0.001, "lora.rank": 4}, (0.1,)),), began=2000.0)
    change = viewer.look()
    assert change["anew"]
    assert viewer.parts["trial 0"]["params"]["lora.rank"] == 4
    assert viewer.head["trouble"] == ""


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"kind": "nonsense"}\n', "line 6"),
        (with_checksum(OF_NO_TRIAL.model_dump_json().encode()), "before it started"),
    ],
)
def test_a_damaged_record_is_said_for_as_long_as_it_is(folder: Path, line: bytes, said: str) -> None:
    viewer = Viewer(folder)
    viewer.look()
    append(folder, REPORT, torn=line)
    for _ in range(3):
        viewer.look()
    assert viewer.parts["trial 0"]["value"] == 0.7
    if "line" in said:
        said = f"line {len((folder / LEDGER).read_bytes().splitlines())}"
    assert said in viewer.head["trouble"]


@pytest.mark.parametrize("seen", ["nonsense", "a-b.c", "00000000-99999", "-", "ab-١"])
def test_what_a_viewer_claims_to_have_seen_is_not_trusted(folder: Path, seen: str) -> None:
    viewer = Viewer(folder)
    viewer.seen = seen
    assert viewer.look()["anew"]


def test_which_experiments_are_on_the_page(tmp_path: Path) -> None:
    for name in ("pets-a", "pets-b", "nuclei"):
        write(tmp_path / name, ())
    found = experiments_of(["nuclei", "pets-*", str(tmp_path / "nuclei")], tmp_path)
    assert [folder.name for folder in found] == ["nuclei", "pets-a", "pets-b"]
    with pytest.raises(StorageError, match=r"no experiment 'x' in .*available: nuclei, pets-a, pets-b"):
        experiments_of(["x"], tmp_path)
    for number in range(13):
        (tmp_path / f"many-{number}").mkdir()
        shutil.copy(tmp_path / "nuclei" / LEDGER, tmp_path / f"many-{number}")
    with pytest.raises(StorageError, match="at most 12 experiments, these are 13"):
        experiments_of(["many-*"], tmp_path)


def test_an_unusable_record_is_an_error_before_anything_is_served(tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / LEDGER).write_text('{"kind": "experiment"')
    with pytest.raises(LedgerError, match="does not begin with the experiment"):
        LiveSweeps([folder])
