"""Exported adapters of every type load where only torch, transformers and peft are installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from exporting import CASES, OURS, export_case, load_elsewhere

ROOT = Path(__file__).parents[2]
ALONE = ("torch", "transformers", "peft")


@pytest.mark.exhaustive  # it installs torch anew; `make test` loads them beside packages that are barred
@pytest.mark.timeout(2400)
def test_every_adapter_type_loads_with_torch_transformers_and_peft_alone(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    _run([sys.executable, "-m", "venv", str(tmp_path / "venv")], tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    pins = ["-c", str(ROOT / "constraints.txt")]
    _run([str(python), "-m", "pip", "install", "--quiet", *pins, *ALONE], tmp_path)
    listed = json.loads(_run([str(python), "-m", "pip", "list", "--format", "json"], tmp_path))
    installed = {package["name"].lower() for package in listed}
    assert set(ALONE) <= installed
    assert not installed & {"adaptertune", "ray", "optuna", "datasets", "pillow", *OURS}
    exported = {case.name: export_case(case, tmp_path / "exports" / case.name) for case in CASES}
    # Nothing is barred: what is not installed cannot be imported.
    found, errors = load_elsewhere(python, exported, tmp_path / "scratch", barred=())
    assert not errors
    assert set(found) == set(exported)
    for name, held in exported.items():
        difference = float((found[name] - held.expected).abs().max())
        assert difference <= 1e-5, f"{name} differs by {difference}"


def _run(command: list[str], cwd: Path) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout
