from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest

from trainables.errors import StorageError
from tuning.checkpoints.trained_adapter import EXPERIMENT, REPORTS
from tuning.cli.run.run_folder_of_train import run_folder


def train(into: Path | None, storage: Path, *, reports: str = "", error: type[BaseException] | None) -> None:
    """A run that writes its file and its reports, and ends by `error`, if any."""
    with run_folder(into, storage, "one") as folder:
        (folder / EXPERIMENT).write_text("name: one\n")
        (folder / REPORTS).write_text(reports)
        if error is not None:
            raise error


@pytest.mark.parametrize("error", [StorageError, KeyboardInterrupt, ZeroDivisionError])
def test_after_an_error_before_the_first_report_the_folder_is_gone(
    error: type[BaseException], tmp_path: Path
) -> None:
    with pytest.raises(error):
        train(None, tmp_path, error=error)
    assert not list(tmp_path.iterdir())


def test_after_an_error_the_folders_of_others_stay(tmp_path: Path) -> None:
    other = tmp_path / "trained" / "two"
    other.mkdir(parents=True)
    with pytest.raises(StorageError):
        train(None, tmp_path, error=StorageError)
    assert list((tmp_path / "trained").iterdir()) == [other]


@pytest.mark.parametrize("error", [None, StorageError, KeyboardInterrupt])
def test_what_was_reported_stays(error: type[BaseException] | None, tmp_path: Path) -> None:
    with pytest.raises(error) if error is not None else nullcontext():
        train(tmp_path / "into", tmp_path, reports="{}\n", error=error)
    assert (tmp_path / "into" / REPORTS).exists()


def test_a_folder_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(StorageError, match="choose another with --into"):
        train(tmp_path, tmp_path, error=None)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
