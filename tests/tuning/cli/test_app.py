from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


HEAVY = (
    "torch",
    "transformers",
    "peft",
    "ray",
    "optuna",
    "sqlalchemy",
    "matplotlib",
    "scipy",
    "pandas",
    "pyarrow",
)


def process(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); from tuning.cli.app import app\n"
        "try: app(prog_name='adaptertune')\n"
        f"finally: print('HEAVY', [m for m in {HEAVY} if m in sys.modules])"
    )
    return subprocess.run(
        [sys.executable, "-P", "-c", code, *arguments],
        cwd=cwd, capture_output=True, text=True, check=False, timeout=60, env=os.environ | environment,
    )  # fmt: skip


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("validate", "quickstart"),
        ("spaces",),
        ("list",),
        ("best", "digits"),
        ("best", "digits", "--where", "lora.rank > 4"),
        ("best", "digits", "--format", "yaml"),
        ("status", "digits"),
        ("ablation", "digits", "--by", "adapter"),
        ("domains", "shifted"),
    ],
)
def test_commands_that_read_import_nothing_heavy(
    storage: Path, shifted: Path, arguments: tuple[str, ...]
) -> None:
    """What makes them quick; how quick they are, `benchmarks/hundred_thousand_trials.py` measures."""
    done = process(*arguments, cwd=storage, ADAPTERTUNE_STORAGE=str(storage))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "HEAVY []" in done.stdout
