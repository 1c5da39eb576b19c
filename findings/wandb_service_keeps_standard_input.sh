#!/usr/bin/env bash
# wandb 0.31.0: a process that logs and is killed leaves the reading end of its standard input open.
#
# Guess before running (2026-11-29): after `kill -9` of a process that reads lines from a pipe and logs them with wandb, writing into the
# pipe raises BrokenPipeError.
#
# Seen: without wandb it does. With wandb, the service that `wandb.init` starts (offline too) has inherited standard input and lives on for a
# moment: the write succeeds, into a pipe that nobody reads.
#
# For users: the process behind a view takes its commands off standard input before it imports a library (tuning/views/process_loop.py),
# so that the driver notices its death.
set -euo pipefail
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"${PYTHON:-python3}" -m venv "$scratch/venv"
"$scratch/venv/bin/python" -m pip install --quiet wandb==0.31.0
cd "$scratch"
HOME=$scratch "$scratch/venv/bin/python" - <<'PY'
import os
import signal
import subprocess
import sys

CHILD = """
import sys
if sys.argv[1] == "wandb":
    import wandb
    wandb.init(project="p", mode="offline", settings=wandb.Settings(silent=True, console="off"))
print("ready", flush=True)
for line in sys.stdin:
    pass
"""
seen = {}
for how in ("plain", "wandb"):
    child = subprocess.Popen([sys.executable, "-c", CHILD, how], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "ready\n"
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    try:
        os.write(child.stdin.fileno(), b"a line\n")
        seen[how] = "written"
    except BrokenPipeError:
        seen[how] = "BrokenPipeError"
    print(f"{how:6} {seen[how]}")
assert seen == {"plain": "BrokenPipeError", "wandb": "written"}
PY
echo "as stated"
