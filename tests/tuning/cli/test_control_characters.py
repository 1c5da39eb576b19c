"""A class, a file or an error may have any name; a terminal never gets its control characters."""

from __future__ import annotations

import ast
import io
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from recorded import LORA, TRIALS, Told, write
from rich.console import Console

from trainables.wording import without_controls
from tuning.cli.console import print_columns, print_lines
from tuning.ledger.ledger import LEDGER, Ledger
from tuning.ledger.outcomes import Outcome
from tuning.ledger.records import PreparedRecord
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


ROOT = Path(__file__).parents[3]


def on_terminal(folder: Path, *arguments: str) -> str:
    """What a command prints on a terminal, started in `folder`; none of its control characters is BAD's."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "tuning.cli", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "XDG_CONFIG_HOME": str(folder), "COLUMNS": "300"},
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
    # A terminal's line ends with \r\n; Rich's and Typer's own are the colours.
    text = re.sub(r"\x1b\[[\d;]*m", "", printed.decode()).replace("\r\n", "\n")
    assert without_controls(text) == text
    return text


def test_in_what_a_command_prints_on_a_terminal(tmp_path: Path) -> None:
    (tmp_path / "pets.yaml").write_text('name: pets\n"\\e]0;mine\\a": 1\n', encoding="utf-8")
    assert "␛]0;mine␇" in on_terminal(tmp_path, "validate", "pets.yaml")


def test_in_status_and_list(tmp_path: Path) -> None:
    failed = Told(LORA, (), Outcome.FAILED, f"no mask of {BAD}")
    folder = write(tmp_path / "sweep", [failed, *TRIALS])
    with Ledger.open(folder) as ledger:
        ledger.append(
            PreparedRecord(
                fingerprint="f",
                classes=[BAD],
                faults=[{"file": f"{BAD}.png", "what": "cannot be read"}],
                warnings=[f"no training image has the class {BAD}"],
                found=f"a folder for each class: {BAD}",
            )
        )
    status = on_terminal(tmp_path, "status", "sweep", "--storage", ".")
    for said in (
        f"no mask of {SHOWN}",
        f"data.folder: a folder for each class: {SHOWN}",
        f"{SHOWN}.png  cannot be read",
        f"warning: no training image has the class {SHOWN}",
    ):
        assert said in status
    folder.rename(tmp_path / BAD)
    (tmp_path / f"{BAD} too").mkdir()
    (tmp_path / f"{BAD} too" / LEDGER).write_text("{}\n")
    listed = on_terminal(tmp_path, "list", "--storage", ".").splitlines()
    assert [SHOWN in line for line in listed] == [True, True]


def test_in_profiles(tmp_path: Path) -> None:
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / f"{BAD}.yaml").write_text(f"# {BAD} of ours\n", encoding="utf-8", newline="")
    listed = on_terminal(tmp_path, "cluster", "profiles")
    assert listed.startswith(f"{SHOWN}  ")
    assert f"profiles/{SHOWN}.yaml" in listed
    printed = on_terminal(tmp_path, "cluster", "profiles", BAD)
    assert printed == f"# {SHOWN} of ours\n".replace("␍", "\n")  # which Python reads as the end of a line


WRITES = {
    "tuning/messages.py": "takes out control characters",
    "tuning/cli/bash_completion.py": "for the shell, which quotes them",
}


def test_nothing_else_writes_on_the_terminal() -> None:
    """Everything that is printed goes through these modules, or through Rich, which is taught at import."""
    found = set()
    for file in (ROOT / "tuning").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in _PRINTS:
                found.add(str(file.relative_to(ROOT)))
    assert found == set(WRITES)


_PRINTS = {f"{module}.{name}" for module in ("typer", "click") for name in ("echo", "secho")}
_PRINTS |= {"print", "sys.stdout.write", "sys.stderr.write"}
