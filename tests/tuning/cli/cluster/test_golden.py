"""The job files of all profiles that ship, as files to read: `golden/`.

`python -m pytest tests/tuning/cli/cluster/test_golden.py --write-golden` writes them anew.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from jobs import check_shell, job

from cluster.manifests.spec import SlurmProfile
from tuning.cli.cluster.profile_files import find_profile, known_profiles
from tuning.cli.cluster.read_profile import read_profile
from tuning.cli.cluster.submission import job_text

GOLDEN = Path(__file__).parent / "golden"
SHIPPED = [profile.name for profile in known_profiles() if profile.shipped]


@pytest.mark.parametrize("name", SHIPPED)
def test_the_job_file_of_a_shipped_profile_is_the_one_that_was_read(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    profile = read_profile(find_profile(name))
    text = job_text(profile, job())
    slurm = isinstance(profile, SlurmProfile)
    file = GOLDEN / f"{name}.{'sh' if slurm else 'yaml'}"
    if request.config.getoption("--write-golden"):
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")
    if slurm:
        check_shell(text, tmp_path)


def test_there_is_no_job_file_of_a_profile_that_does_not_ship() -> None:
    assert {file.stem for file in GOLDEN.iterdir()} == set(SHIPPED)
