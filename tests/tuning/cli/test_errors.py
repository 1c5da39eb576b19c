from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result


def test_a_damaged_record_is_named(run: Callable[..., Result], storage: Path) -> None:
    ledger = storage / "digits" / "ledger.jsonl"
    lines = ledger.read_text().splitlines(keepends=True)
    ledger.write_text("".join([*lines[:3], "{broken\n", *lines[3:]]))
    assert "line 4" in run("best", "digits", code=2).stderr
    assert "unreadable" in run("list").stdout


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (OSError(errno.ENOSPC, "x", "/some/file"), 2, "/some/file: the disk is full"),
        (OSError(errno.EROFS, "x"), 2, "the disk is read-only"),
        (PermissionError(errno.EACCES, "x", "/some/file"), 2, "no permission"),
        (KeyboardInterrupt(), 130, "everything that an experiment has recorded so far is kept"),
        (RuntimeError("kaput\nmore"), 70, "unexpected RuntimeError: kaput"),
        (BrokenPipeError(errno.EPIPE, "x"), 1, ""),
    ],
)
def test_every_error_ends_as_a_message(
    run: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    error: BaseException,
    code: int,
    message: str,
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("tuning.experiment.load.load_experiment", fail)
    said = run("validate", "x", code=code).stderr
    assert message in said
    if code == 70:
        (saved,) = tmp_path.glob("adaptertune-*.txt")
        assert str(saved) in said
        assert "in fail" in saved.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "{file}", "--into", "/etc/passwd/x"), "/etc/passwd/x: a part of this path is a file"),
        (("train", "{file}", "--into", "/etc/passwd/x/y"), "a part of this path is a file"),
        (("train", "{file}", "--into", "n" * 300), "this name is too long"),
        (("best", "n" * 300), "this name is too long"),
        (("validate", "n" * 300), "this name is too long"),
    ],
)
def test_a_path_that_cannot_be_is_a_message(
    run: Callable[..., Result], tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    file = tmp_path / "one.yaml"
    file.write_text("name: one\ntask: segmentation\nobjective: {metric: dice}\n")
    said = run(*(argument.format(file=file) for argument in arguments), code=2).stderr
    assert message in said


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EEXIST, errno.EISDIR, errno.ENOTDIR])
def test_a_wrong_path_that_the_user_did_not_give_is_an_internal_error(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: int
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(number, "x", wrong)

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("tuning.experiment.load.load_experiment", fail)
    wrong = "/usr/lib/ours"
    assert "error in adaptertune" in run("validate", "/given/file", code=70).stderr
    wrong = "/given/file"
    assert "/given/file: " in run("validate", "/given/file", code=2).stderr


def test_a_wrong_option_is_reported_by_typer(run: Callable[..., Result]) -> None:
    assert "No such option" in run("best", "digits", "--wehre", "x", code=2).stderr


def test_a_closed_pipe_is_no_error(storage: Path) -> None:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from tuning.cli.app import main; main()"
    with subprocess.Popen(
        [sys.executable, "-P", "-c", code, "schema"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=storage,
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.close()
        said = child.stderr.read()
        assert child.wait(30) in (0, 1)
    assert said == b""


ROOT = Path(__file__).parents[3]
