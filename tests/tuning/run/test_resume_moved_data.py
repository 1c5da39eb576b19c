"""A sweep whose data are elsewhere now."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from begun_sweeps import Begun, boxed, moved, recorded, resumed
from edited_records import edit_record
from scripted import essence

from trainables.errors import DataError, StorageError
from tuning.experiment.moved_data import data_paths
from tuning.ledger.header import experiment_of
from tuning.ledger.ledger import read_history
from tuning.ledger.outcomes import Ending

pytestmark = pytest.mark.usefixtures("ray_once", "cache")


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


@pytest.mark.exhaustive
def test_data_may_move_again(tmp_path: Path, launched: Begun) -> None:
    folder = launched(tmp_path)
    resumed(folder, trials=3, move_data=moved(tmp_path))
    (tmp_path / "job2").rename(tmp_path / "job3")
    resumed(folder, trials=4, move_data={tmp_path / "job2": tmp_path / "job3"})
    assert len(read_history(folder).moves) == 2
    assert resumed(folder, trials=5).outcome is Ending.FINISHED


@pytest.mark.exhaustive
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


@pytest.mark.exhaustive
def test_new_times_at_the_old_place_are_the_same_data(tmp_path: Path, launched: Begun) -> None:
    folder = launched(tmp_path)
    for path in (tmp_path / "job1").rglob("*.*"):
        os.utime(path, ns=(1, 1))
    assert resumed(folder, trials=3).outcome is Ending.FINISHED


# --- an experiment from before content counted ------------------------------------------------


@pytest.mark.exhaustive
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


@pytest.mark.slow
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

    def edit(text: str) -> str:
        lines = [json.loads(line) for line in text.splitlines()]
        for line in lines:
            if line["kind"] == "prepared":
                assert line.pop("domains")
        return "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)

    edit_record(folder, edit)
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
