"""A class, a file or an error may have any name; a terminal never gets its control characters."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from trainables.wording import without_controls
from tuning.cli.console import print_columns, print_lines
from tuning.messages import print_answer, say

BAD = "cat\x1b]0;mine\x07\x9b2J\r\u202egnp.exe"
SHOWN = "cat␛]0;mine␇\ufffd2J␍\ufffdgnp.exe"


def test_each_control_character_shows_as_a_sign_and_other_text_stays() -> None:
    assert without_controls(BAD) == SHOWN
    text = "Zürich\t猫 e\u0301 👩\u200d🔬\nשלום"
    assert without_controls(text) == text


def test_in_tables_and_lines() -> None:
    file = io.StringIO()
    out = Console(file=file, force_terminal=True, width=120, highlight=False)
    print_columns(out, BAD, ["class", BAD], [[BAD, "1"]], caption=BAD)
    print_lines(out, BAD)
    printed = file.getvalue()
    assert printed.count("cat␛]0;mine␇") == 5
    assert not {"\x07", "\x9b", "\r", "\u202e"} & set(printed)
    assert "\x1b]" not in printed


def test_in_messages(capsys: pytest.CaptureFixture[str]) -> None:
    say(BAD)
    assert capsys.readouterr().err == f"{SHOWN}\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_program_that_reads_an_answer_gets_it_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for file, printed in ((io.StringIO(), BAD), (Terminal(), SHOWN)):
        monkeypatch.setattr(sys, "stdout", file)
        print_answer(BAD)
        assert file.getvalue() == f"{printed}\n"


def test_in_what_a_command_prints_on_a_terminal(tmp_path: Path) -> None:
    file = tmp_path / "pets.yaml"
    file.write_text('name: pets\n"\\e]0;mine\\a": 1\n', encoding="utf-8")
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "tuning.cli", "validate", str(file)],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    ):
        os.close(theirs)
        printed = b""
        try:
            while part := os.read(ours, 4096):
                printed += part
        except OSError:
            pass  # the command has ended
    os.close(ours)
    assert "␛]0;mine␇" in printed.decode()
    assert b"\x1b]0" not in printed
