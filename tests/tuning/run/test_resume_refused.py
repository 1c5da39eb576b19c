"""A refused resume leaves the experiment as it was: its record, its folder and its views."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from begun_sweeps import Begun, moved, recorded, resumed

from trainables.errors import AdaptertuneError, DataError, StorageError
from tuning.ledger.ledger import LEDGER, read_history
from tuning.ledger.outcomes import Ending

pytestmark = pytest.mark.usefixtures("ray_once", "cache")


def gone(tmp_path: Path) -> dict[str, Any]:
    shutil.rmtree(tmp_path / "job1")
    return {"trials": 3}


def changed(tmp_path: Path) -> dict[str, Any]:
    masks = sorted((tmp_path / "job1" / "own" / "masks").iterdir())
    shutil.copyfile(masks[-1], masks[0])
    return {"trials": 3}


def changed_domain(tmp_path: Path) -> dict[str, Any]:
    masks = sorted((tmp_path / "job1" / "stain" / "masks").iterdir())
    shutil.copyfile(masks[-1], masks[0])
    return {"trials": 3}


def changed_elsewhere(tmp_path: Path) -> dict[str, Any]:
    places = moved(tmp_path)
    (tmp_path / "job2" / "own" / "images" / "cell_002.jpg").unlink()
    (tmp_path / "job2" / "own" / "masks" / "cell_002.png").unlink()
    return {"trials": 3, "move_data": places}


def changed_and_nothing_to_do(tmp_path: Path) -> dict[str, Any]:
    return changed_elsewhere(tmp_path) | {"trials": None}


def broken(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "job1" / "own" / "masks" / "cell_003.png").write_text("no image")
    return {"trials": 3}


def fewer_trials(tmp_path: Path) -> dict[str, Any]:
    return {"trials": 1}


def nothing_failed(tmp_path: Path) -> dict[str, Any]:
    return {"retry_failed": True}


def no_data_there(tmp_path: Path) -> dict[str, Any]:
    return {"trials": 3, "move_data": {"/elsewhere": tmp_path}}


def nothing_there(tmp_path: Path) -> dict[str, Any]:
    return {"trials": 3, "move_data": {tmp_path / "job1": tmp_path / "nowhere"}}


def other_folder_there(tmp_path: Path) -> dict[str, Any]:
    return {"trials": 3, "move_data": {tmp_path / "job1": tmp_path / "out"}}


@pytest.mark.parametrize(
    ("spoil", "error", "said"),
    [
        (gone, DataError, r"(?s)nothing is at .*job1/own/images.*--move-data \S*/job1=NEW"),
        (changed, DataError, r"(?s)other data \(.*train masks: cell_000\.png is another file"),
        (changed_domain, DataError, r"(?s)other data in domain stain.*stain: test masks: cell_000\.png is"),
        (changed_elsewhere, DataError, r"(?s)train images: cell_002\.jpg is missing.*masks: cell_002\.png"),
        (changed_and_nothing_to_do, DataError, r"train images: cell_002\.jpg is missing"),
        (broken, DataError, r"cell_003\.png"),
        (fewer_trials, StorageError, "has 2 trials already"),
        (nothing_failed, StorageError, "is finished, with 2 trials"),
        (no_data_there, AdaptertuneError, "/elsewhere is not where data of sweep were"),
        (nothing_there, AdaptertuneError, "nothing is at .*nowhere"),
        (other_folder_there, DataError, r"nothing is at .*out/own/images"),
    ],
)
def test_a_refused_resume_leaves_the_experiment_as_it_was(
    tmp_path: Path,
    launched: Begun,
    spoil: Callable[[Path], dict[str, Any]],
    error: type[AdaptertuneError],
    said: str,
) -> None:
    folder = launched(tmp_path)
    asked = spoil(tmp_path)
    left = [folder / "control" / "stop", folder / "trials" / "0001" / "halted", folder / "baseline.claimed"]
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    before, splits = recorded(folder), (folder / "splits.json").read_bytes()
    with pytest.raises(error, match=said):
        resumed(folder, **asked)
    assert recorded(folder) == before
    assert all(path.exists() for path in left)
    assert (folder / "splits.json").read_bytes() == splits
    assert read_history(folder).finished


def test_a_stop_that_no_driver_received_is_forgotten_once_the_resume_is_recorded(
    tmp_path: Path, launched: Begun
) -> None:
    folder = launched(tmp_path)
    (folder / "control").mkdir(exist_ok=True)
    (folder / "control" / "stop").touch()
    assert resumed(folder, trials=3).outcome is Ending.FINISHED
    assert not (folder / "control" / "stop").exists()


def test_a_sweep_that_fits_no_node_is_refused_without_a_trace(
    tmp_path: Path, launched: Begun, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = launched(tmp_path)
    before = recorded(folder)
    monkeypatch.setattr("tuning.run.room.wait_for_room.does_not_fit", lambda *_, **__: "no node has 64 CPUs")
    with pytest.raises(StorageError, match="no node has 64 CPUs"):
        resumed(folder, trials=3, prepare=lambda _: tmp_path)
    assert recorded(folder) == before


def test_an_interrupted_sweep_that_is_refused_stays_interrupted(tmp_path: Path, launched: Begun) -> None:
    folder = launched(tmp_path)
    lines = recorded(folder).splitlines(keepends=True)
    started = next(i for i, line in enumerate(lines) if b'"trial":1' in line)
    (folder / LEDGER).write_bytes(b"".join(lines[: started + 1]))
    before = recorded(folder)
    with pytest.raises(DataError):
        resumed(folder, trials=changed(tmp_path)["trials"])
    assert recorded(folder) == before
    assert read_history(folder).trials[1].outcome is None


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_stop_while_data_are_prepared_is_recorded_unless_the_data_are_at_an_unchecked_place(
    tmp_path: Path, launched: Begun, *, elsewhere: bool
) -> None:
    folder = launched(tmp_path)
    asked = {"move_data": moved(tmp_path)} if elsewhere else {}
    before, over = recorded(folder), threading.Event()

    def prepare(workload: object) -> Path:
        (folder / "control").mkdir(exist_ok=True)
        (folder / "control" / "stop").touch()
        over.wait(60)
        return tmp_path

    try:
        result = resumed(folder, trials=3, prepare=prepare, **asked)
    finally:
        over.set()
    assert result.outcome is Ending.INTERRUPTED
    assert (recorded(folder) == before) is elsewhere
    closed = read_history(folder).closed
    assert closed is not None
    assert closed.reason is (Ending.FINISHED if elsewhere else Ending.INTERRUPTED)
    assert read_history(folder).moves == ()


def test_views_of_a_refused_sweep_are_not_touched(
    tmp_path: Path, launched: Begun, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = launched(tmp_path)
    begun: list[str] = []
    monkeypatch.setattr("tuning.views.followers.ViewThread.start", lambda self: begun.append(self.title))
    with pytest.raises(DataError):
        resumed(folder, **changed(tmp_path))
    assert begun == []
