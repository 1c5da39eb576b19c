"""`bash -n` and shellcheck accept every shell script of the repository; job files have tests of their own."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from jobs import check_shell_files, find_shellcheck

ROOT = Path(__file__).parents[1]
SHEBANG = re.compile(rb"#!\s*\S*/(env\s+)?(ba|da)?sh\b")
PARTS = {
    "cluster/manifests/launch_or_resume.bash",
    "cluster/manifests/skypilot_task.bash",
    "cluster/manifests/slurm_job.bash",
}
"""Parts of job files, which are no scripts by themselves: `tests/cluster/manifests` checks the whole ones."""


def is_shell(file: Path) -> bool:
    """Whether a file is a shell script, by its name or its first line."""
    if file.suffix in (".sh", ".bash"):
        return True
    with file.open("rb") as content:
        return SHEBANG.match(content.readline(100)) is not None


@pytest.fixture(scope="module")
def scripts() -> list[str]:
    """The shell scripts under version control."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("this is no git checkout")
    files = [name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]
    return [name for name in files if is_shell(ROOT / name)]


def test_bash_and_shellcheck_accept_all_scripts(scripts: list[str]) -> None:
    shellcheck = find_shellcheck()
    if shellcheck is None:
        pytest.skip("shellcheck is not installed; `make setup` installs it")
    whole = [name for name in scripts if name not in PARTS]
    assert {".ci/run", "findings/hotcoco_max_dets.sh"} <= set(whole)
    check_shell_files([ROOT / name for name in whole], shellcheck)


def test_what_is_left_out_is_there(scripts: list[str]) -> None:
    assert set(scripts) >= PARTS


@pytest.mark.parametrize(
    ("name", "first", "shell"),
    [
        ("run", "#!/usr/bin/env bash", True),
        ("run", "#!/bin/sh -e", True),
        ("a.bash", "", True),
        ("a.sh", "# part", True),
        ("run", "#!/usr/bin/env python3", False),
        ("run", "echo", False),
    ],
)
def test_a_script_is_known_by_its_name_or_its_first_line(
    tmp_path: Path, name: str, first: str, shell: bool
) -> None:
    (tmp_path / name).write_text(f"{first}\necho\n")
    assert is_shell(tmp_path / name) is shell
