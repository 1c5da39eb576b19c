"""A real sweep whose worker is killed: checkpoints say whose they are, and the record knows the files."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from chaos import IMAGES, NAME, Place, freeze_in_mid_epoch

from trainables.start_number import newest_start, start_file
from trainables.training.checkpoint import read_weights, stored_digest
from tuning.exit_codes import USER_ERROR
from tuning.ledger.ledger import read_history, read_records
from tuning.ledger.records import StartedRecord
from tuning.ledger.storage import trial_folder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]
FILES = ("best.ckpt", "last.ckpt")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A sweep of three trials whose worker was killed once, in the middle of an epoch.

    Epochs are longer than in other tests: there are few of them, and one must be caught in the middle.
    """
    place = Place(tmp_path_factory.mktemp("fenced"), tmp_path_factory.mktemp("cache"))
    images = 2 * IMAGES
    longer = ("search.trials=3", f"data.embedded.train={images}")
    with place.run(*place.launch(*longer, retries=2)) as driver:
        driver.wait_for(lambda: freeze_in_mid_epoch(driver.workers(), place.folder, images=images))
        for worker in driver.workers():
            worker.kill()
        assert driver.finish() == 0, driver.said()
    return place


def test_each_start_has_a_number_in_the_record_and_beside_the_checkpoints(place: Place) -> None:
    history = read_history(place.folder)
    assert sorted(trial.starts for trial in history.trials.values()) == [1, 1, 2]
    for number, trial in history.trials.items():
        started = [
            r for r in read_records(place.folder) if isinstance(r, StartedRecord) and r.trial == number
        ]
        assert [record.start for record in started] == [*range(1, trial.starts + 1)]
        assert newest_start(start_file(place.folder, number)) == trial.starts


def test_the_record_has_the_digest_of_each_file_and_each_file_says_whose_it_is(place: Place) -> None:
    for number, trial in read_history(place.folder).trials.items():
        files = {name: trial_folder(place.folder, number) / name for name in FILES}
        assert trial.saved == {name: stored_digest(path) for name, path in files.items()}
        says = {name: read_weights(path).identity for name, path in files.items()}
        assert {identity.trial for identity in says.values() if identity is not None} == {number}
        last = says["last.ckpt"]
        assert last is not None
        assert (last.start, last.epoch) == (trial.starts, trial.epoch)


@pytest.mark.parametrize("command", ["evaluate", "export", "predict"])
def test_another_trials_weights_are_refused_by_each_command(
    place: Place, tmp_path: Path, command: str
) -> None:
    storage = tmp_path / "storage"
    folder = Path(shutil.copytree(place.folder, storage / NAME))
    shutil.copy(trial_folder(folder, 0) / "best.ckpt", trial_folder(folder, 1) / "best.ckpt")
    more = {"predict": [str(tmp_path)], "export": ["--to", str(tmp_path / "out")]}.get(command, [])
    done = subprocess.run(
        [sys.executable, "-P", "-m", "tuning.cli", command, f"{NAME}:1", *more, "--storage", str(storage)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == USER_ERROR, done.stdout + done.stderr
    assert "is a checkpoint of trial 0" in done.stderr
    assert "not of trial 1" in done.stderr
