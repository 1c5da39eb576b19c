"""A wheel in an empty environment launches `quickstart` from a folder with the user's own packages."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_wheel_launches_quickstart_beside_foreign_packages(tmp_path: Path) -> None:
    _run([sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path / "dist"), str(ROOT)], ROOT)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    _run([sys.executable, "-m", "venv", str(tmp_path / "venv")], tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    pins = ["-c", str(ROOT / "constraints.txt")]
    _run([str(python), "-m", "pip", "install", "--quiet", *pins, str(wheel)], tmp_path)
    project = tmp_path / "project"
    for foreign in ("analysis", "tuning", "trainables"):
        (project / foreign).mkdir(parents=True)
        (project / foreign / "__init__.py").write_text("raise RuntimeError('the user\\'s own package')\n")
    command = [str(python.parent / "adaptertune"), "launch", "quickstart", "--trials", "2"]
    output = _run([*command, "--set", "trial.epochs=1"], project)
    assert "best configuration: trial" in output
    assert (project / "experiments" / "quickstart" / "ledger.jsonl").is_file()
    assert "quickstart" in _run([str(python.parent / "adaptertune"), "spaces"], project)


def _run(command: list[str], cwd: Path) -> str:
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "ADAPTERTUNE_STORAGE")}
    environment["ADAPTERTUNE_CACHE"] = str(cwd / "cache")
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout
