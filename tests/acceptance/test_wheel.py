"""A wheel in an empty environment, used from a folder with the user's own modules of our packages' names."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("analysis", "cluster", "search_spaces", "trainables", "tuning")
SWEEP = """
import adaptertune

results = adaptertune.launch("quickstart", name="from-python", trials=1, trial={"epochs": 1}, progress=False)
print(results.state, len(results.trials))
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment in which the wheel is installed."""
    folder = tmp_path_factory.mktemp("wheel")
    run([sys.executable, "-m", "build", "--wheel", "--outdir", str(folder / "dist"), str(ROOT)], ROOT)
    (wheel,) = (folder / "dist").glob("*.whl")
    run([sys.executable, "-m", "venv", str(folder / "venv")], folder)
    installed = folder / "venv" / "bin" / "python"
    pins = ["-c", str(ROOT / "constraints.txt")]
    run([str(installed), "-m", "pip", "install", "--quiet", *pins, str(wheel)], folder)
    return installed


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The user's folder: packages and modules of our names."""
    for foreign in ("analysis", "cluster"):
        (tmp_path / foreign).mkdir()
        (tmp_path / foreign / "__init__.py").write_text("raise RuntimeError('the user\\'s own package')\n")
    for foreign in ("tuning", "trainables"):
        (tmp_path / f"{foreign}.py").write_text("raise RuntimeError('the user\\'s own module')\n")
    return tmp_path


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_a_wheel_launches_quickstart_next_to_foreign_packages(python: Path, project: Path) -> None:
    adaptertune = str(python.parent / "adaptertune")
    assert "quickstart" in run([adaptertune, "spaces"], project)
    given = ["launch", "quickstart", "--name", "detached", "--trials", "1", "--set", "trial.epochs=1"]
    output = run([adaptertune, *given, "--detach"], project, PYTHONPATH=".")
    assert "runs in the background" in output
    assert (project / "experiments" / "detached" / "ledger.jsonl").is_file()
    run([adaptertune, "status", "detached", "--watch"], project, PYTHONPATH=".")
    process = re.search(r"in the background as process (\d+)", output)
    assert process is not None
    while Path(f"/proc/{process[1]}").exists():  # the record is closed; it prints what was found
        time.sleep(0.1)
    assert "best configuration: trial" in run([adaptertune, "logs", "detached"], project)


@pytest.mark.slow
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("path", [None, "."], ids=["", "PYTHONPATH=."])
def test_python_finds_our_packages_next_to_foreign_ones(
    python: Path, project: Path, path: str | None
) -> None:
    also = {} if path is None else {"PYTHONPATH": path}
    site = python.parents[1] / "lib"
    files = ", ".join(f"{name}.__file__" for name in PACKAGES)
    code = f"import adaptertune, {', '.join(PACKAGES)}; print(adaptertune.__file__, {files})"
    found = run([str(python), "-c", code], project, **also).split()
    assert len(found) == 1 + len(PACKAGES)
    assert all(Path(file).is_relative_to(site) for file in found)
    assert "quickstart" in run([str(python), "-m", "adaptertune", "spaces"], project, **also)
    assert "quickstart" in run([str(python.parent / "adaptertune"), "spaces"], project, **also)
    (project / "sweep.py").write_text(SWEEP)
    assert "finished 1" in run([str(python), "sweep.py"], project, **also)


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_a_foreign_module_that_is_imported_before_is_an_error(python: Path, project: Path) -> None:
    (project / "tuning.py").write_text("")
    done = subprocess.run(
        [str(python), "-c", "import tuning, adaptertune"],
        cwd=project,
        env=environment(project),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "adaptertune needs its own package 'tuning'" in done.stderr
    assert str(project / "tuning.py") in done.stderr


def environment(folder: Path, **more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "ADAPTERTUNE_STORAGE")}
    return kept | {"ADAPTERTUNE_CACHE": str(folder / "cache")} | more


def run(command: list[str], cwd: Path, **more: str) -> str:
    done = subprocess.run(
        command, cwd=cwd, env=environment(cwd, **more), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout
