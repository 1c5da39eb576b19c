"""A sweep whose data are elsewhere now, or gone, or others; and that a refused resume changes nothing."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from data_makers import coco_folder, mask_folder
from scripted import Scripted, essence, experiment

from trainables.errors import AdaptertuneError, DataError, StorageError
from trainables.specs.definitions import BEFORE
from tuning.experiment.moved_data import data_paths
from tuning.ledger.header import experiment_of
from tuning.ledger.ledger import LEDGER, read_history
from tuning.ledger.records import Ending
from tuning.run.driver import LaunchResult
from tuning.run.launch import launch_experiment
from tuning.run.resume import resume_experiment

pytestmark = pytest.mark.usefixtures("ray_once", "cache")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("ADAPTERTUNE_CACHE", str(folder))
    return folder


def drawn(root: Path) -> dict[str, Any]:
    """Masks, and a domain with masks of its own."""
    return {
        "task": "segmentation",
        "objective": {"metric": "dice"},
        "data": {
            "masks": {"train": mask_folder(root / "own", 8), "classes": ["ground", "cell"]},
            "domains": {"stain": {"masks": mask_folder(root / "stain", 4)}},
        },
    }


def boxed(root: Path) -> dict[str, Any]:
    return {"data": {"coco": {"train": coco_folder(root / "own", 8)}}}


class Begun:
    """Finished sweeps of two trials, each run once; a test gets a copy with data of its own in `job1`."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._made: dict[object, Path] = {}

    def __call__(
        self, to: Path, make: Callable[[Path], dict[str, Any]] = drawn, *, before: bool = False
    ) -> Path:
        """before: recorded with the first definitions."""
        if (make, before) not in self._made:
            self._made[make, before] = self._launched(self._place / f"{make.__name__}-{before}", make, before)
        made = self._made[make, before]
        shutil.copytree(made, to, dirs_exist_ok=True)  # with its times
        ledger = to / "out" / "sweep" / LEDGER
        ledger.write_text(ledger.read_text().replace(str(made), str(to)))
        return ledger.parent

    def _launched(self, at: Path, make: Callable[[Path], dict[str, Any]], before: bool) -> Path:
        parts: dict[str, Any] = {
            "search": {"trials": 2},
            "trial": {"epochs": 2},
            "scoring": {"trials": "none"},
        }
        given = experiment(**parts, **make(at / "job1"))
        if before:
            given = given.model_copy(update={"definitions": BEFORE})
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ADAPTERTUNE_CACHE", str(at / "cache"))
            launch_experiment(given, at / "out", trainable=Scripted)
        return at


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory, ray_once: None) -> Begun:
    return Begun(tmp_path_factory.mktemp("begun"))


def resumed(folder: Path, **asked: Any) -> LaunchResult:
    return resume_experiment(folder, trainable=Scripted, **asked)


def moved(tmp_path: Path, *, times: bool = False) -> dict[str, str]:
    """Move the data, with their times or without; returns where from and to."""
    old, new = tmp_path / "job1", tmp_path / "job2"
    if times:
        old.rename(new)
    else:
        shutil.copytree(old, new, copy_function=shutil.copyfile)
        shutil.rmtree(old)
    return {str(old): str(new)}


def recorded(folder: Path) -> bytes:
    return (folder / LEDGER).read_bytes()


# --- data that moved --------------------------------------------------------------------------


def goes_on_elsewhere(folder: Path, tmp_path: Path, said: pytest.CaptureFixture[str]) -> None:
    places = moved(tmp_path)
    assert resumed(folder, trials=3, move_data=places).outcome is Ending.FINISHED
    assert f"the files at {tmp_path}/job2 have the content of the launch" in said.readouterr().err
    history = read_history(folder)
    assert history.moves == (places,)
    assert all("/job2/" in path for path in data_paths(experiment_of(history.header)).values())
    with pytest.raises(StorageError, match="is finished, with 3 trials"):  # found without saying it again
        resumed(folder, trials=3)
    assert [trial.outcome for trial in read_history(folder).trials.values()] == ["completed"] * 3


def test_moved_data_of_the_same_content_are_read_at_their_new_place_from_then_on(
    tmp_path: Path, launched: Begun, capsys: pytest.CaptureFixture[str]
) -> None:
    goes_on_elsewhere(launched(tmp_path), tmp_path, capsys)


@pytest.mark.slow
def test_moved_coco_data_are_read_at_their_new_place_too(
    tmp_path: Path, launched: Begun, capsys: pytest.CaptureFixture[str]
) -> None:
    goes_on_elsewhere(launched(tmp_path, boxed), tmp_path, capsys)


@pytest.mark.slow
def test_it_ends_as_if_nothing_had_moved(tmp_path: Path, launched: Begun) -> None:
    first = launched(tmp_path)
    twin = Path(shutil.copytree(first, tmp_path / "twin" / first.name))
    resumed(first, trials=4)
    resumed(twin, trials=4, move_data=moved(tmp_path))
    assert essence(twin) == essence(first)


@pytest.mark.slow
def test_data_may_move_again(tmp_path: Path, launched: Begun) -> None:
    folder = launched(tmp_path)
    resumed(folder, trials=3, move_data=moved(tmp_path))
    (tmp_path / "job2").rename(tmp_path / "job3")
    resumed(folder, trials=4, move_data={tmp_path / "job2": tmp_path / "job3"})
    assert len(read_history(folder).moves) == 2
    assert resumed(folder, trials=5).outcome is Ending.FINISHED


@pytest.mark.slow
def test_parts_may_move_to_different_places(tmp_path: Path, launched: Begun) -> None:
    folder = launched(tmp_path)
    (tmp_path / "job1" / "own" / "masks").rename(tmp_path / "m")
    (tmp_path / "job1" / "stain").rename(tmp_path / "s")
    own = tmp_path / "job1" / "own" / "masks"
    resumed(folder, trials=3, move_data={own: tmp_path / "m", tmp_path / "job1" / "stain": tmp_path / "s"})
    assert len(read_history(folder).trials) == 3


def test_a_finished_sweep_learns_the_place_and_stays_finished(tmp_path: Path, launched: Begun) -> None:
    folder = launched(tmp_path)
    before = read_history(folder)
    shutil.rmtree(folder / "tables")
    assert resumed(folder, move_data=moved(tmp_path)).outcome is Ending.FINISHED
    assert any((folder / "tables").iterdir())  # the views follow
    after = read_history(folder)
    assert after.finished
    assert after.moves
    assert (after.scoring, after.scores) == (before.scoring, before.scores)
    assert essence(folder)


@pytest.mark.slow
def test_new_times_at_the_old_place_are_the_same_data(tmp_path: Path, launched: Begun) -> None:
    folder = launched(tmp_path)
    for path in (tmp_path / "job1").rglob("*.*"):
        os.utime(path, ns=(1, 1))
    assert resumed(folder, trials=3).outcome is Ending.FINISHED


# --- an experiment from before content counted ------------------------------------------------


@pytest.mark.slow
def test_of_an_experiment_before_the_prepared_images_are_compared(
    tmp_path: Path, launched: Begun, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = launched(tmp_path, before=True)
    resumed(folder, trials=3, move_data=moved(tmp_path))
    assert "all prepared images are equal to those before" in capsys.readouterr().err
    for path in (tmp_path / "job2").rglob("*.*"):
        os.utime(path, ns=(1, 1))
    resumed(folder, trials=4)
    assert len(read_history(folder).trials) == 4


@pytest.mark.slow
def test_of_an_experiment_before_without_its_prepared_data_names_and_numbers_are_compared(
    tmp_path: Path, launched: Begun, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = launched(tmp_path, before=True)
    shutil.rmtree(cache)
    places = moved(tmp_path)
    before = recorded(folder)
    extra = tmp_path / "job2" / "own" / "images" / "cell_000.jpg"
    extra.rename(extra.with_name("other.jpg"))
    drawing = tmp_path / "job2" / "own" / "masks" / "cell_000.png"
    drawing.rename(drawing.with_name("other.png"))
    with pytest.raises(DataError, match="launched with other data"):
        resumed(folder, trials=3, move_data=places)
    assert recorded(folder) == before
    extra.with_name("other.jpg").rename(extra)
    drawing.with_name("other.png").rename(drawing)
    resumed(folder, trials=3, move_data=places)
    assert "only names and numbers of images and classes were compared" in capsys.readouterr().err


def test_of_an_experiment_before_other_content_is_refused(tmp_path: Path, launched: Begun) -> None:
    folder = launched(tmp_path, before=True)
    places = moved(tmp_path)
    masks = sorted((tmp_path / "job2" / "own" / "masks").iterdir())
    shutil.copyfile(masks[-1], masks[0])
    before = recorded(folder)
    with pytest.raises(DataError, match="launched with other data"):
        resumed(folder, trials=3, move_data=places)
    assert recorded(folder) == before


def without_domains(folder: Path, *, names: bool = True) -> None:
    """Turn the record into one of the version that recorded no fingerprints of domains."""
    lines = [json.loads(line) for line in (folder / LEDGER).read_text().splitlines()]
    for line in lines:
        if line["kind"] == "prepared":
            assert line.pop("domains")
    (folder / LEDGER).write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))
    if not names:
        stored = json.loads((folder / "splits.json").read_text())
        del stored["domains"]
        (folder / "splits.json").write_text(json.dumps(stored))


@pytest.mark.parametrize(("names", "said"), [(True, "same names as at"), (False, "were not compared")])
def test_a_moved_domain_without_a_recorded_fingerprint_is_not_said_to_be_equal(
    tmp_path: Path, launched: Begun, capsys: pytest.CaptureFixture[str], said: str, *, names: bool
) -> None:
    folder = launched(tmp_path, before=True)
    without_domains(folder, names=names)
    (tmp_path / "job1" / "stain").rename(tmp_path / "s")
    resumed(folder, move_data={tmp_path / "job1" / "stain": tmp_path / "s"})
    told = capsys.readouterr().err
    assert said in told
    assert "content of the launch" not in told


@pytest.mark.parametrize("elsewhere", [False, True])
def test_other_images_in_a_domain_without_a_recorded_fingerprint_are_refused(
    tmp_path: Path, launched: Begun, *, elsewhere: bool
) -> None:
    folder = launched(tmp_path, before=True)
    without_domains(folder)
    for part in ("images/cell_000.jpg", "masks/cell_000.png"):
        (tmp_path / "job1" / "stain" / part).unlink()
    places = moved(tmp_path, times=True) if elsewhere else {}
    before = recorded(folder)
    with pytest.raises(DataError, match="launched with other images in domain stain: the names in"):
        resumed(folder, trials=3, move_data=places)
    assert recorded(folder) == before


@pytest.mark.slow
def test_of_an_experiment_before_without_its_prepared_data_names_in_domains_are_compared_too(
    tmp_path: Path, launched: Begun, cache: Path
) -> None:
    folder = launched(tmp_path, before=True)
    shutil.rmtree(cache)
    places = moved(tmp_path)
    for part in ("images/cell_000.jpg", "masks/cell_000.png"):
        (tmp_path / "job2" / "stain" / part).unlink()
    with pytest.raises(DataError, match="launched with other data"):
        resumed(folder, trials=3, move_data=places)


# --- what is refused leaves the record as it was ----------------------------------------------


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
    monkeypatch.setattr("tuning.run.driver.does_not_fit", lambda *_, **__: "no node has 64 CPUs")
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
