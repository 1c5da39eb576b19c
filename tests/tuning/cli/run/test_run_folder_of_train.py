from __future__ import annotations

from pathlib import Path

import pytest

from trainables.errors import StorageError
from tuning.checkpoints.trained_adapter import EXPERIMENT, REPORTS
from tuning.cli.run.run_folder_of_train import run_folder


@pytest.mark.parametrize("error", [StorageError, KeyboardInterrupt, ZeroDivisionError])
def test_after_an_error_before_the_first_report_the_folder_is_gone(
    error: type[BaseException], tmp_path: Path
) -> None:
    with pytest.raises(error), run_folder(None, tmp_path, "one") as folder:
        (folder / EXPERIMENT).write_text("name: one\n")
        (folder / REPORTS).touch()
        raise error
    assert not list(tmp_path.iterdir())


def test_after_an_error_the_folders_of_others_stay(tmp_path: Path) -> None:
    with pytest.raises(StorageError), run_folder(None, tmp_path, "one") as folder:
        (folder.parent / "two").mkdir()
        raise StorageError
    assert not folder.exists()
    assert (folder.parent / "two").exists()


@pytest.mark.parametrize("error", [None, StorageError, KeyboardInterrupt])
def test_what_was_reported_stays(error: type[BaseException] | None, tmp_path: Path) -> None:
    def train(folder: Path) -> None:
        (folder / REPORTS).write_text("{}\n")
        if error is not None:
            raise error

    try:
        with run_folder(tmp_path / "into", tmp_path, "one") as folder:
            train(folder)
    except BaseException as raised:
        assert type(raised) is error
    assert (tmp_path / "into" / REPORTS).exists()


def test_a_folder_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(StorageError, match="choose another with --into"), run_folder(tmp_path, tmp_path, "o"):
        pass
