from __future__ import annotations

from pathlib import Path

import pytest
from recorded import write

from trainables.errors import StorageError
from tuning.storage import BEST, refer, storage_folder


def test_the_option_goes_before_the_variable_before_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ADAPTERTUNE_STORAGE", raising=False)
    assert storage_folder(None) == Path("experiments")
    monkeypatch.setenv("ADAPTERTUNE_STORAGE", "elsewhere")
    assert storage_folder(None) == Path("elsewhere")
    assert storage_folder(Path("here")) == Path("here")


def test_a_name_a_path_and_a_trial(tmp_path: Path) -> None:
    folder = write(tmp_path / "digits")
    for text in ("digits", str(folder)):
        assert refer(text, tmp_path).folder == folder
        assert refer(f"{text}:3", tmp_path).trial == 3
        assert refer(f"{text}:best", tmp_path).trial == BEST
    assert refer("digits", tmp_path).trial is None
    for text in ("absent", "absent:3", "digits:worst"):
        with pytest.raises(StorageError, match="there are: digits"):
            refer(text, tmp_path)
