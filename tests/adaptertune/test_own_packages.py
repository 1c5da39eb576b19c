"""Which packages a process imports as ours, with a user's packages of the same names in its folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from adaptertune.own_packages import PACKAGES

ROOT = Path(__file__).resolve().parents[2]
SHOW = f"import {', '.join(PACKAGES)}; print({', '.join(f'{name}.__file__' for name in PACKAGES)}, sep='\\n')"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A user's folder with modules and packages of our names, and one with another name."""
    folder = tmp_path / "project"
    for package in ("analysis", "cluster", "search_spaces"):
        (folder / package).mkdir(parents=True)
        (folder / package / "__init__.py").write_text("raise RuntimeError('the wrong one')\n")
    for module in ("tuning", "trainables"):
        (folder / f"{module}.py").write_text("raise RuntimeError('the wrong one')\n")
    (folder / "mine.py").write_text("VALUE = 3\n")
    return folder


@pytest.fixture(params=[False, True], ids=["", "PYTHONPATH=."])
def environment(request: pytest.FixtureRequest) -> dict[str, str]:
    """Without and with the current folder on the path."""
    given = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "ADAPTERTUNE_STORAGE")}
    return given | ({"PYTHONPATH": f".{os.pathsep}{ROOT}"} if request.param else {"PYTHONPATH": str(ROOT)})


def run(folder: Path, environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_ours_are_imported_and_the_users_other_modules_as_before(
    project: Path, environment: dict[str, str]
) -> None:
    code = f"import sys; before = list(sys.path); import adaptertune; {SHOW}; import mine"
    done = run(project, environment, "-c", f"{code}; assert sys.path == before; print(mine.__file__)")
    assert done.returncode == 0, done.stderr
    *ours, mine = done.stdout.split()
    assert [Path(file).resolve() for file in ours] == [ROOT / name / "__init__.py" for name in PACKAGES]
    assert Path(mine).resolve() == project / "mine.py"


def test_the_command_runs_there(project: Path, environment: dict[str, str]) -> None:
    done = run(project, environment, "-m", "adaptertune", "list")
    assert (done.returncode, done.stdout.split()[:2]) == (0, ["no", "experiments"]), done.stderr
    entry = "from adaptertune.__main__ import main; main()"  # as in the installed script
    assert run(project, environment, "-c", entry, "spaces").stdout.startswith("sweeps")


def test_a_launch_in_the_background_finds_ours(project: Path, environment: dict[str, str]) -> None:
    given = ["launch", "quickstart", "--detach", "--storage", "."]
    done = run(project, environment, "-m", "adaptertune", *given, "--set", "trial.epochs=x")
    assert (done.returncode, "trial.epochs" in done.stderr) == (2, True), done.stderr
    code = "from tuning.run.background.detach import command_line; import subprocess, sys"
    child = f"{code}; sys.exit(subprocess.run(command_line(['list'])).returncode)"
    done = run(project, environment, "-c", f"import adaptertune; {child}")
    assert (done.returncode, done.stdout.split()[:2]) == (0, ["no", "experiments"]), done.stderr


def test_a_foreign_module_that_is_imported_already_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "tuning.py").write_text("")
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    shown = "print(len(sys.meta_path), tuning.__file__)"
    code = f"import sys, tuning\ntry:\n    import adaptertune\nfinally:\n    {shown}"
    done = run(tmp_path, environment, "-c", code)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: adaptertune needs its own package 'tuning'")
    assert str(tmp_path / "tuning.py") in last
    assert "import adaptertune first" in last
    count, file = done.stdout.split()
    assert file == str(tmp_path / "tuning.py")
    untouched = run(tmp_path, environment, "-c", "import sys; print(len(sys.meta_path))").stdout
    assert count == untouched.strip()


def test_a_folder_without_code_that_is_imported_already_is_named_too(tmp_path: Path) -> None:
    (tmp_path / "cluster").mkdir()
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    hidden = "import sys; sys.path.remove(sys.path[1]); import cluster"  # a namespace package
    code = f"{hidden}; sys.path.append({str(ROOT)!r}); import adaptertune"
    done = run(tmp_path, environment, "-S", "-c", code)
    assert f"from {tmp_path / 'cluster'}" in done.stderr


def test_ours_that_are_imported_already_are_kept(tmp_path: Path) -> None:
    code = "import tuning; before = tuning; import adaptertune, tuning; assert tuning is before"
    assert run(tmp_path, os.environ | {"PYTHONPATH": str(ROOT)}, "-c", code).returncode == 0


def test_a_package_of_ours_that_is_missing_is_not_replaced_by_the_users(
    project: Path, tmp_path: Path
) -> None:
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone" / "adaptertune").symlink_to(ROOT / "adaptertune", target_is_directory=True)
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "alone")}
    done = run(project, environment, "-c", "import adaptertune; import tuning")
    assert "its package 'tuning' is not in" in done.stderr
    assert "the wrong one" not in done.stderr


def test_importing_it_again_adds_no_finder() -> None:
    code = "import sys, importlib, adaptertune; n = len(sys.meta_path)"
    again = "importlib.reload(adaptertune); del sys.modules['adaptertune']; import adaptertune"
    done = run(ROOT, dict(os.environ), "-c", f"{code}; {again}; assert len(sys.meta_path) == n")
    assert done.returncode == 0, done.stderr
