from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tuning.run.background.supervise import supervise

DRIVER = """
import json, os, signal, sys, time
from pathlib import Path

folder, command = Path(sys.argv[1]), sys.argv[2]
ledger = folder / "ledger.jsonl"
runs = folder / "runs"
lives = json.loads((folder / "lives.json").read_text())
number = len(runs.read_text().split()) if runs.exists() else 0
with runs.open("a") as file:
    file.write(command + "\\n")

def write(**record):
    with ledger.open("a") as file:
        file.write(json.dumps({"time": 1.0} | record) + "\\n")

if not ledger.exists() and lives[0][0] != "nothing":
    write(kind="experiment", schema=1, name="s", file="", experiment={})
    write(kind="started", trial=0, params={}, hash="44136fa355b3678a")

def asked(number, frame):
    (folder / "asked").write_text(str(number))
    write(kind="closed", reason="interrupted")
    sys.exit(130 if number == signal.SIGINT else 75)

for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(each, asked)
for step in lives[number]:
    if step == "report":
        epoch = float(number + 1)
        write(kind="report", trial=0, epoch=epoch, step=1, objective=0.5)
    elif step in ("finished", "failed", "interrupted"):
        write(kind="closed", reason=step)
    elif step == "wait":
        (folder / "waits").touch()
        time.sleep(600)
    elif step == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif step != "nothing":
        sys.exit(int(step))
"""
OUTSIDE = """
import sys
from pathlib import Path
from tuning.run.background.supervise import supervise
start, again = ([sys.executable, "-c", sys.argv[2], sys.argv[1], name] for name in ("launch", "resume"))
pauses = [float(pause) for pause in sys.argv[3:]]
code = supervise(start, again, Path(sys.argv[1]), pauses=pauses, tell=lambda text: print(text, flush=True))
assert not {"ray", "torch"} & sys.modules.keys()
sys.exit(code)
"""


def lives(folder: Path, *steps: str) -> None:
    """The steps of each run of the scripted driver."""
    (folder / "lives.json").write_text(json.dumps([life.split() for life in steps]))


def run(
    folder: Path, *steps: str, pauses: tuple[float, ...] = (0.0,) * 5
) -> tuple[int, list[str], list[str]]:
    """The exit code, the commands that ran, the messages."""
    lives(folder, *steps)
    told: list[str] = []
    start, again = ([sys.executable, "-c", DRIVER, str(folder), name] for name in ("launch", "resume"))
    code = supervise(start, again, folder, pauses=pauses, tell=told.append)
    return code, (folder / "runs").read_text().split(), told


def test_a_driver_that_dies_is_resumed_until_the_sweep_is_over(tmp_path: Path) -> None:
    code, runs, told = run(tmp_path, "report kill", "report failed 70", "1", "report finished 0")
    assert (code, runs) == (0, ["launch", "resume", "resume", "resume"])
    assert [text.partition(";")[0] for text in told] == [
        "the driver was killed by signal 9",
        "the driver ended with code 70",
        "the driver ended with code 1",
    ]


def test_a_resume_that_cannot_come_up_yet_is_tried_again(tmp_path: Path) -> None:
    """For example, its cluster does not answer: exit code 2, which is final for a launch."""
    code, runs, _ = run(tmp_path, "report kill", "2", "2", "report finished 0")
    assert (code, len(runs)) == (0, 4)


def test_a_resumed_driver_that_reports_and_then_finds_the_disk_full_is_not(tmp_path: Path) -> None:
    code, runs, _ = run(tmp_path, "report kill", "report failed 2")
    assert (code, len(runs)) == (2, 2)


@pytest.mark.parametrize(
    ("life", "code"),
    [
        ("report finished 0", 0),
        ("report finished 1", 1),  # no trial has a value
        ("report finished kill", 137),
        ("report interrupted 130", 130),
        ("report interrupted 75", 75),
        ("report failed 2", 2),  # a full disk
        ("nothing 2", 2),  # a wrong file
        ("nothing kill", 137),  # before there was a record
    ],
)
def test_an_end_is_an_end(tmp_path: Path, life: str, code: int) -> None:
    assert run(tmp_path, life) == (code, ["launch"], [])


def test_it_gives_up_after_so_many_restarts_without_a_report(tmp_path: Path) -> None:
    steps = ("report kill", "kill", "report kill", "kill", "70")
    code, runs, told = run(tmp_path, *steps, pauses=(0.0, 0.01))
    assert (code, len(runs)) == (70, 5)
    assert [text.rpartition("; ")[2] for text in told] == [
        "it resumes in 0 s", "it resumes in 0.01 s",  # a report resets the count
        "it resumes in 0 s", "it resumes in 0.01 s",
        "it is not restarted",
    ]  # fmt: skip


def outside(folder: Path, *steps: str, pauses: tuple[str, ...] = ("0",)) -> subprocess.Popen[Any]:
    lives(folder, *steps)
    root = Path(__file__).parents[3]
    return subprocess.Popen(
        [sys.executable, "-c", OUTSIDE, str(folder), DRIVER, *pauses],
        env=os.environ | {"PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=_heed_signals,
    )


def _heed_signals() -> None:
    """A shell starts background processes with SIGINT ignored, and `nohup` any with SIGHUP ignored."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130), (signal.SIGHUP, 75)]
)
def test_a_signal_is_passed_on_and_the_driver_stays_down(tmp_path: Path, number: int, code: int) -> None:
    parent = outside(tmp_path, "report kill", "report wait")
    wait_for(tmp_path / "waits", parent)
    parent.send_signal(number)
    out, _ = parent.communicate(timeout=300)
    assert parent.returncode == code
    assert (tmp_path / "asked").read_text() == str(int(number))
    assert (tmp_path / "runs").read_text().split() == ["launch", "resume"]
    assert out.splitlines() == ["the driver was killed by signal 9; it resumes in 0 s"]


def test_a_signal_between_two_drivers_ends_the_waiting(tmp_path: Path) -> None:
    parent = outside(tmp_path, "report kill", "wait", pauses=("60",))
    assert parent.stdout is not None
    assert "resumes in 60 s" in parent.stdout.readline()
    parent.send_signal(signal.SIGTERM)
    assert parent.wait(timeout=300) == 75
    assert (tmp_path / "runs").read_text().split() == ["launch"]


def wait_for(path: Path, process: subprocess.Popen[Any]) -> None:
    deadline = time.monotonic() + 120
    while not path.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    assert path.exists()
