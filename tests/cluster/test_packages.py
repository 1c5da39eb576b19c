from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cluster.packages import PACKAGES, package_folder, stage


@pytest.mark.parametrize("link", [True, False])
def test_a_staged_folder_holds_the_five_packages_and_nothing_else(tmp_path: Path, link: bool) -> None:
    folder = stage(tmp_path / "staged", link=link)
    assert sorted(p.name for p in folder.iterdir()) == sorted(PACKAGES)
    assert (folder / "trainables" / "errors.py").read_bytes() == (
        package_folder("trainables") / "errors.py"
    ).read_bytes()


def test_copies_leave_compiled_files_behind(tmp_path: Path) -> None:
    folder = stage(tmp_path / "staged", link=False)
    assert not list(folder.rglob("__pycache__"))


def test_a_process_in_a_staged_folder_imports_from_it(tmp_path: Path) -> None:
    folder = stage(tmp_path / "staged", link=False)
    code = "import trainables.specs.trial as c; print(c.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True
    )
    assert Path(done.stdout.strip()).is_relative_to(folder)
