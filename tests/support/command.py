"""The command line in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def adaptertune(cwd: Path, *arguments: str, timeout: float | None = None, **environment: str) -> str:
    """What the command prints; it must exit with 0.

    environment: variables next to those of the tests.  timeout: in seconds.
    """
    done = subprocess.run(
        [sys.executable, "-P", "-m", "tuning.cli", *arguments],
        cwd=cwd,
        env=os.environ | {"HF_HUB_OFFLINE": "1"} | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
