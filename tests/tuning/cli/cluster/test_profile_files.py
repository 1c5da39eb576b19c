from __future__ import annotations

from pathlib import Path

import pytest

from trainables.errors import StorageError
from tuning.cli.cluster.profile_files import find_profile, known_profiles, user_folder
from tuning.cli.cluster.read_profile import read_profile

SHIPPED = [profile.name for profile in known_profiles() if profile.shipped]


def written(path: Path, headline: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"# {headline}\nscheduler: slurm\ncpus: 1\nwall_time: 1h\n")
    return path


def test_profiles_ship() -> None:
    assert {"slurm-cpu", "slurm-gpu"} <= set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_profile_is_valid_and_says_what_it_is(name: str) -> None:
    (known,) = (profile for profile in known_profiles() if profile.name == name)
    assert known.headline
    assert read_profile(find_profile(name)).scheduler == name.partition("-")[0]


def test_a_name_is_looked_up_here_then_among_the_users_then_among_the_shipped(own_settings: Path) -> None:
    assert user_folder() == own_settings
    shipped = find_profile("slurm-gpu")
    of_user = written(own_settings / "slurm-gpu.yaml", "the user's")
    assert find_profile("slurm-gpu") == of_user
    here = written(Path("profiles/slurm-gpu.yaml"), "of this folder")
    assert find_profile("slurm-gpu") == find_profile("slurm-gpu.yaml") == here
    found = [profile for profile in known_profiles() if profile.name == "slurm-gpu"]
    assert [profile.path for profile in found] == [here, of_user, shipped]
    assert [profile.hidden for profile in found] == [False, True, True]
    assert [profile.shipped for profile in found] == [False, False, True]
    assert found[0].headline == "of this folder"


def test_a_path_comes_before_a_name(tmp_path: Path) -> None:
    path = written(tmp_path / "mine" / "a.yaml", "by path")
    assert find_profile(str(path)) == path
    assert find_profile("../mine/a.yaml") == Path("../mine/a.yaml")


def test_an_unknown_profile_is_said_with_those_that_there_are() -> None:
    with pytest.raises(StorageError, match="did you mean 'slurm-gpu'"):
        find_profile("slurm-gpuu")
    with pytest.raises(StorageError, match=r"no profile zzz; available: .*slurm-cpu"):
        find_profile("zzz")
    with pytest.raises(StorageError, match=r"no profile \.\./zzz\.yaml"):
        find_profile("../zzz.yaml")
    Path("folder").mkdir()
    with pytest.raises(StorageError, match="is a folder; name the profile in it"):
        find_profile("./folder")
