"""Ctrl-C in a separate process, with a Ray that `launch` starts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tuning.ledger.ledger import LEDGER

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import builtins, sys
from pathlib import Path
from types import SimpleNamespace

import adaptertune
from python_sweeps import WRITTEN, use
from scripted import Scripted

class Long(Scripted):
    pause_s = 0.5

if __name__ == "__main__":
    data, patch = Path("data"), SimpleNamespace(setattr=builtins.setattr)
    use(patch, data, Long)
    try:
        adaptertune.launch(WRITTEN, trial={"epochs": 60})
    except KeyboardInterrupt as error:
        import ray
        print(ray.is_initialized(), adaptertune.open("sweep").state, error)
    use(patch, data)
    print(adaptertune.resume("sweep", progress=False).state)
"""


@pytest.mark.slow
def test_the_sweep_is_resumed_in_the_same_process(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    environment = {k: v for k, v in os.environ.items() if k != "ADAPTERTUNE_STORAGE"}
    process = subprocess.Popen(
        [sys.executable, "-u", "program.py"],
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests' / 'support'}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    ledger = tmp_path / "experiments" / "sweep" / LEDGER
    while process.poll() is None and not (ledger.is_file() and '"report"' in ledger.read_text()):
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # like a terminal: to the whole group
    out, err = process.communicate()
    assert process.returncode == 0, err
    interrupted = next(line for line in out.splitlines() if "sweep is interrupted" in line)
    assert interrupted.startswith("False interrupted sweep is interrupted; ")
    assert "adaptertune.resume('sweep')" in interrupted
    assert out.splitlines()[-1] == "finished"
