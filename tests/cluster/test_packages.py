from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from adaptertune.own_packages import PACKAGES as FOUND_BY_LOCATION
from cluster.connect import connect
from cluster.packages import PACKAGES, foreign_on_workers, package_folder, stage_packages


@pytest.mark.parametrize("link", [True, False])
def test_a_staged_folder_holds_our_packages_and_nothing_else(tmp_path: Path, link: bool) -> None:
    folder = stage_packages(tmp_path / "staged", link=link)
    assert sorted(p.name for p in folder.iterdir()) == sorted(PACKAGES)
    assert (folder / "trainables" / "errors.py").read_bytes() == (
        package_folder("trainables") / "errors.py"
    ).read_bytes()


def test_copies_leave_compiled_files_behind(tmp_path: Path) -> None:
    folder = stage_packages(tmp_path / "staged", link=False)
    assert not list(folder.rglob("__pycache__"))


def test_a_process_in_a_staged_folder_imports_from_it(tmp_path: Path) -> None:
    folder = stage_packages(tmp_path / "staged", link=False)
    code = "import trainables.specs.trial as c; import adaptertune as a; print(c.__file__, a.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True
    )
    assert all(Path(file).is_relative_to(folder) for file in done.stdout.split())


def test_the_packages_are_those_that_adaptertune_imports_by_location() -> None:
    assert set(PACKAGES) == {"adaptertune", *FOUND_BY_LOCATION}


def test_a_package_that_is_missing_is_reported() -> None:
    with pytest.raises(ModuleNotFoundError, match="the package 'tunning' of adaptertune is not in"):
        package_folder("tunning")


RAY = """
import json, sys
sys.path.append({root!r})
import ray
ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
import adaptertune
from cluster.packages import foreign_on_workers
print(json.dumps(foreign_on_workers()))
"""


def test_workers_of_a_ray_that_was_started_next_to_foreign_packages_are_found_out(tmp_path: Path) -> None:
    (tmp_path / "trainables.py").write_text("")
    (tmp_path / "cluster").mkdir()
    (tmp_path / "cluster" / "__init__.py").write_text("")
    root = str(Path(__file__).resolve().parents[2])
    environment = os.environ | {"PYTHONPATH": root}
    done = subprocess.run(
        [sys.executable, "-c", RAY.format(root=root)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "trainables": str(tmp_path / "trainables.py"),
        "cluster": str(tmp_path / "cluster"),
    }


def test_workers_that_see_ours_have_none_of_others(tmp_path: Path) -> None:
    with connect(None, threads=1, log=tmp_path / "ray.log"):
        assert foreign_on_workers() == {}
