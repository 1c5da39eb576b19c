"""The Dockerfile. No image is built here; its install steps run in an empty environment."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")
INSTRUCTIONS = [
    re.sub(r"\s+", " ", line.strip())
    for line in re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", TEXT, flags=re.M)).splitlines()
    if line.strip()
]
"""One line each, without comments."""
PACKAGES = ("adaptertune", "analysis", "cluster", "search_spaces", "trainables", "tuning")


def arguments(instruction: str) -> list[str]:
    """What follows each instruction of this name."""
    return [line.partition(" ")[2] for line in INSTRUCTIONS if line.split()[0] == instruction]


def test_hadolint_accepts_it() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    assert hadolint.exists(), "hadolint is missing; `make setup` installs it"

    def found(text: str) -> tuple[int, str]:
        done = subprocess.run([hadolint, "-"], input=text, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout

    assert found(TEXT) == (0, "")
    code, said = found(TEXT.replace("--no-cache-dir ", ""))
    assert code == 1
    assert "DL3042" in said


def test_it_copies_what_the_installation_needs_and_the_context_has_it() -> None:
    copied = {word for line in arguments("COPY") for word in line.split()[:-1]}
    assert copied == {"LICENSE", "README.md", "constraints.txt", "pyproject.toml", *PACKAGES}
    sent = (ROOT / ".dockerignore").read_text().split()
    assert sent[0] == "*"
    assert {line.removeprefix("!") for line in sent if line.startswith("!")} == copied
    assert all((ROOT / name).exists() for name in copied)


def test_python_is_that_of_the_constraints() -> None:
    (image,) = arguments("FROM")
    assert image.startswith("python:3.11-")
    assert 'requires-python = ">=3.11,' in (ROOT / "pyproject.toml").read_text()


@pytest.mark.exhaustive
@pytest.mark.timeout(3600)
def test_its_install_steps_run_in_an_empty_environment(tmp_path: Path) -> None:
    work, venv = tmp_path / "work", tmp_path / "venv"
    work.mkdir()
    for line in arguments("COPY"):
        *sources, target = line.split()
        for source in sources:
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, work / target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / source, work / target)
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    environment = os.environ | {"PATH": f"{venv}/bin:{os.environ['PATH']}"}
    (install,) = (line for line in arguments("RUN") if "pip install" in line)

    def run(command: str) -> str:
        done = subprocess.run(
            ["/bin/sh", "-c", command], cwd=work, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run(install)
    shutil.rmtree(work / "tuning")  # what runs now is installed
    work = tmp_path
    pinned = re.search(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.M)
    assert pinned is not None
    assert pinned[1] in run("ray --version")
    assert "slurm-gpu" in run("adaptertune cluster profiles")
    assert "#SBATCH" in run("adaptertune submit quickstart --on slurm-gpu --print")
    run("python -c 'import ray.dashboard.modules.job.job_manager'")  # of ray[default]
