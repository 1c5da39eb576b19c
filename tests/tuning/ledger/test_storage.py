from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from recorded import write

from trainables.errors import StorageError
from tuning.ledger.storage import (
    BEST,
    Reference,
    find_experiment,
    parse_log_reference,
    parse_reference,
    read_log,
    shell_name,
    storage_folder,
)


def test_the_option_goes_before_the_variable_before_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ADAPTERTUNE_STORAGE", raising=False)
    assert storage_folder(None) == Path("experiments")
    monkeypatch.setenv("ADAPTERTUNE_STORAGE", "elsewhere")
    assert storage_folder(None) == Path("elsewhere")
    assert storage_folder(Path("here")) == Path("here")


def test_a_name_a_path_and_a_trial(tmp_path: Path) -> None:
    folder = write(tmp_path / "digits")
    for text in ("digits", str(folder)):
        assert parse_reference(text, tmp_path).folder == folder
        assert parse_reference(f"{text}:3", tmp_path).trial == 3
        assert parse_reference(f"{text}:best", tmp_path).trial == BEST
        assert parse_reference(f"{text}:best:dice/a:b", tmp_path) == Reference(folder, BEST, "dice/a:b")
        assert parse_reference(f"{text}:best", tmp_path).metric is None
    assert parse_reference("digits", tmp_path).trial is None
    for text in ("absent", "absent:3", "digits:worst"):
        with pytest.raises(StorageError, match="available: digits"):
            parse_reference(text, tmp_path)


def test_a_hint_names_an_experiment_so_that_a_command_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "a b" / "digits")
    monkeypatch.setenv("ADAPTERTUNE_STORAGE", str(tmp_path / "a b"))
    assert shell_name(folder) == "digits"
    monkeypatch.delenv("ADAPTERTUNE_STORAGE")
    assert shell_name(folder) == f"'{folder}'"
    monkeypatch.chdir(tmp_path)
    assert shell_name(tmp_path / "experiments" / "digits") == "digits"
    (said,) = shlex.split(shell_name(folder))
    assert parse_reference(said, storage_folder(None)).folder == folder


def test_of_an_experiment_whose_job_has_not_begun_the_job_is_named(tmp_path: Path) -> None:
    for job in ("mine-1", "mine-two-1"):
        (tmp_path / "jobs" / job).mkdir(parents=True)
    with pytest.raises(StorageError, match=r"no experiment 'mine' .*submitted for it \(\S*/jobs/mine-1\)"):
        find_experiment("mine", tmp_path)
    with pytest.raises(StorageError) as caught:
        find_experiment("other", tmp_path)
    assert "submitted" not in str(caught.value)


def test_the_log_of_a_launch_that_failed_early_is_found(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "driver.log").write_text("img_3.png cannot be read\n")
    for text in ("mine", str(tmp_path / "mine")):
        assert read_log(parse_log_reference(text, tmp_path)) == "img_3.png cannot be read\n"
    with pytest.raises(StorageError, match="no experiment 'other'"):
        parse_log_reference("other", tmp_path)
    with pytest.raises(StorageError, match="a trial's number"):
        read_log(Reference(tmp_path / "mine", BEST))
