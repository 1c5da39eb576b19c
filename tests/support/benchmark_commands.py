"""Benchmarks as commands: refused arguments, and whole runs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def refusal(
    main: Callable[[list[str]], Any], arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> str:
    """What a benchmark says of arguments that it does not take."""
    with pytest.raises(SystemExit):
        main(arguments)
    return capsys.readouterr().err


def printed_by(module: str, *arguments: str, within_s: float | None = None) -> str:
    """What `python -m MODULE` prints; it must succeed."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=within_s,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout
