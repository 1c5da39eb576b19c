"""A signal at any moment of a command ends it with the signal's code, without a traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from marks import exhaustive

from tuning import stop_signals
from tuning.ledger.ledger import LEDGER, read_history

AT_EVENT = """
import os, signal, sys
signal.signal(signal.SIGHUP, getattr(signal, os.environ["HANG_UP"]))
number, event, text = int(sys.argv.pop(1)), sys.argv.pop(1), sys.argv.pop(1)
sent = []

def send(name, args):
    if not sent and name == event and any(text in str(arg) for arg in args):
        sent.append(name)
        os.kill(os.getpid(), number)

sys.addaudithook(send)
from adaptertune.__main__ import main
main()
"""
"""Sends itself a signal at an event: a module is imported, a file is opened, a process started."""
ROOT = Path(__file__).parents[2]
KILLED = 128 + signal.SIGTERM


def run(folder: Path, code: str, *arguments: str, hang_up: str = "SIG_DFL") -> tuple[int, str]:
    """The exit code of a Python that runs this, and what it prints.

    hang_up: what becomes of SIGHUP there; these tests may run under `nohup`.
    """
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "HANG_UP": hang_up},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode if done.returncode >= 0 else 128 - done.returncode, done.stdout + done.stderr


def launched(folder: Path, number: int, event: str, text: str, *more: str) -> tuple[int, str]:
    """Launch the quickstart as `s`, with a signal at an event."""
    command = ("launch", "quickstart", "--name", "s", "--storage", str(folder / "store"), *more)
    return run(folder, AT_EVENT, str(int(number)), event, text, *command)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize(
    ("event", "text"), [("import", "typer"), ("import", "pydantic"), ("open", "quickstart.yaml")]
)
def test_as_the_command_begins(tmp_path: Path, number: signal.Signals, event: str, text: str) -> None:
    code, printed = launched(tmp_path, number, event, text)
    assert code == (130 if number is signal.SIGINT else 75)
    assert "Traceback" not in printed
    assert not (tmp_path / "store" / "s").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("event", "text"),
    [
        ("open", LEDGER),
        ("import", "ray._private.services"),
        ("subprocess.Popen", "gcs_server"),
        ("subprocess.Popen", "raylet"),
        ("import", "ray.tune.execution.class_cache"),  # while other threads import
    ],
)
@pytest.mark.parametrize("number", [exhaustive(signal.SIGINT), signal.SIGTERM])
def test_as_ray_starts_the_name_is_free_again(
    tmp_path: Path, number: signal.Signals, event: str, text: str
) -> None:
    code, printed = launched(tmp_path, number, event, text)
    assert code == (130 if number is signal.SIGINT else 75)
    assert "Traceback" not in printed
    assert "interrupted" in printed
    assert not (tmp_path / "store" / "s").exists()


@pytest.mark.slow
def test_as_a_finished_sweep_is_summed_up_it_is_kept_and_its_resume_ends_with_0(tmp_path: Path) -> None:
    short = ("--trials", "1", "--set", "trial.epochs=1")
    code, printed = launched(tmp_path, signal.SIGTERM, "import", "analysis.sweep_picture", *short)
    assert code == 75
    assert "Traceback" not in printed
    closed = read_history(tmp_path / "store" / "s").closed
    assert closed is not None
    assert closed.reason == "finished"
    again = "from adaptertune.__main__ import main; main()"
    assert run(tmp_path, again, "resume", str(tmp_path / "store" / "s"))[0] == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "number"),
    [
        ("--supervise", signal.SIGTERM),
        ("--detach", signal.SIGHUP),
        exhaustive("--supervise", signal.SIGHUP),
        exhaustive("--supervise", signal.SIGINT),
        exhaustive("--detach", signal.SIGTERM),
        exhaustive("--detach", signal.SIGINT),
    ],
)
def test_as_the_driver_is_started_in_another_process(
    tmp_path: Path, number: signal.Signals, option: str
) -> None:
    code, printed = launched(tmp_path, number, "subprocess.Popen", "launch", option)
    assert code == (130 if number is signal.SIGINT else 75)
    assert "Traceback" not in printed
    assert not (tmp_path / "store" / "s" / LEDGER).exists()


# --- the module by itself ---------------------------------------------------------------------

BEGIN = """
import atexit, os, signal, sys, time
signal.signal(signal.SIGHUP, getattr(signal, os.environ["HANG_UP"]))
from tuning import stop_signals
from tuning.stop_signals import command_ended_by_signals
TERM = signal.SIGTERM
stop_signals.END_WITHIN_S = 0.2
sys.argv = ["adaptertune", COMMAND]
with command_ended_by_signals():
"""


FORKED = """
if not (child := os.fork()): time.sleep(600)
ended = (0, 0)
while not ended[0]:
    os.kill(child, TERM)
    time.sleep(0.1)
    ended = os.waitpid(child, os.WNOHANG)
time.sleep(0.5)
raise SystemExit(7 if os.waitstatus_to_exitcode(ended[1]) == -TERM else 8)
"""


def command(folder: Path, body: str, name: str = "launch", *, hang_up: str = "SIG_DFL") -> int:
    """The exit code of a command that does this."""
    indented = "".join(f"    {line}\n" for line in body.splitlines())
    code, printed = run(folder, BEGIN.replace("COMMAND", repr(name)) + indented, hang_up=hang_up)
    assert "Traceback" not in printed
    return code


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("os.kill(os.getpid(), TERM)", 75),
        ("os.kill(os.getpid(), signal.SIGHUP)", 75),
        ("os.kill(os.getpid(), signal.SIGINT)", 130),
        (
            "try: os.kill(os.getpid(), TERM)\nexcept BaseException: raise SystemExit(15)",
            75,
        ),  # as Ray's handler
        ("try: os.kill(os.getpid(), TERM)\nexcept BaseException: raise SystemError", 75),  # as compiled code
        (
            "try: os.kill(os.getpid(), TERM)\nexcept BaseException: raise SystemExit(2)",
            2,
        ),  # the user can correct it
        ("try: os.kill(os.getpid(), TERM)\nexcept BaseException: raise SystemExit(0)", 0),  # it had finished
        ("atexit.register(os.kill, os.getpid(), TERM)", 0),
        ("raise SystemExit(3)", 3),
        # A handler of others keeps the process from ending.
        ("signal.signal(TERM, lambda *_: None)\nos.kill(os.getpid(), TERM)\ntime.sleep(600)", 75),
        ("atexit.register(time.sleep, 600)\nos.kill(os.getpid(), TERM)", 75),
        # A forked process has signals of its own.
        (FORKED, 7),
    ],
)
def test_a_sweep_ends_with_the_signals_code(tmp_path: Path, body: str, code: int) -> None:
    assert command(tmp_path, body) == code


def test_a_command_that_runs_no_sweep_is_killed_as_any_program(tmp_path: Path) -> None:
    assert command(tmp_path, "os.kill(os.getpid(), TERM)", "best") == KILLED


def test_a_hang_up_that_was_ignored_at_the_start_is_none(tmp_path: Path) -> None:
    body = "os.kill(os.getpid(), signal.SIGHUP)\nraise SystemExit(3)"
    assert command(tmp_path, body, hang_up="SIG_IGN") == 3
    assert command(tmp_path, body) == 75


def test_outside_of_a_command_nothing_is_noted() -> None:
    stop_signals.note(signal.SIGTERM)
    assert stop_signals.noted() is None
