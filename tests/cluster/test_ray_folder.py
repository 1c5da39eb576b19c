from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest

from cluster import ray_folder
from cluster.ray_folder import FOLDER_BYTES, SOCKET_BYTES, NoShortFolderError, new_ray_folder

LONG = "project_with_a_long_name/user.name/job_1234567/scratch_of_this_node"


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_TMPDIR", "TMPDIR"):
        monkeypatch.delenv(name, raising=False)


def made() -> tuple[Path, str | None]:
    place, unused = new_ray_folder()
    place.rmdir()  # raises if it was not made, or is not empty
    return place, unused


def test_the_folder_is_new_and_only_for_this_user() -> None:
    place, unused = new_ray_folder()
    other, _ = new_ray_folder()
    try:
        assert unused is None
        assert place != other
        assert stat.S_IMODE(place.stat().st_mode) == 0o700
        assert place.stat().st_uid == os.getuid()
    finally:
        place.rmdir()
        other.rmdir()


@pytest.mark.parametrize("name", ["RAY_TMPDIR", "TMPDIR"])
@pytest.mark.parametrize("how", ["long", "missing", "a file", "in bytes"])
def test_a_folder_that_cannot_be_used_is_replaced_by_a_short_one(
    name: str, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if how == "a file":
        place = Path(tempfile.gettempdir()) / f"at-{os.getpid()}"
        place.touch()
    elif how == "missing":
        place = Path("/tmp/absent-folder")
    elif how == "in bytes":  # few characters, but each has two bytes
        place = tmp_path / ("ö" * FOLDER_BYTES)
        place.mkdir()
    else:
        place = tmp_path / LONG
        place.mkdir(parents=True)
    monkeypatch.setenv(name, str(place))
    try:
        chosen, unused = made()
    finally:
        if how == "a file":
            place.unlink()
    assert not chosen.is_relative_to(place)
    assert len(os.fsencode(chosen.parent)) <= FOLDER_BYTES
    assert unused is not None
    assert f"{name}={place}" in unused
    assert ("too long" in unused) == (how in ("long", "in bytes"))


def test_ray_tmpdir_comes_before_tmpdir(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (Path(tempfile.mkdtemp(prefix="t", dir="/tmp")) for _ in range(2))
    try:
        monkeypatch.setenv("TMPDIR", str(second))
        assert made()[0].parent == second
        monkeypatch.setenv("RAY_TMPDIR", str(first))
        chosen, unused = made()
        assert (chosen.parent, unused) == (first, None)
    finally:
        first.rmdir()
        second.rmdir()


def test_without_a_short_folder_the_rule_and_the_way_out_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / LONG
    monkeypatch.setenv("TMPDIR", str(place))
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    monkeypatch.setattr(ray_folder, "_SHORT", ("/proc/1/none",))
    with pytest.raises(NoShortFolderError) as caught:
        new_ray_folder()
    said = str(caught.value)
    assert f"at most {FOLDER_BYTES} bytes" in said
    assert f"socket may have {SOCKET_BYTES}" in said
    assert "set RAY_TMPDIR to such a folder" in said
    assert f"TMPDIR={place} is too long" in said


def test_the_longest_socket_of_a_chosen_folder_is_still_short_enough() -> None:
    from ray._private.utils import validate_socket_filepath

    base = "/" + "a" * (FOLDER_BYTES - 1)
    folder = f"{base}/{ray_folder._PREFIX}{'x' * ray_folder._RANDOM}"
    validate_socket_filepath(folder + ray_folder._LONGEST_BELOW)
