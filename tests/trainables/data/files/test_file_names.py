from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest
from data_makers import mask_folder, prepared

from trainables.data.files.file_names import Folder, file_identity, walk_files
from trainables.errors import DataError
from trainables.specs.workload import Task


def folder(tmp_path: Path, *names: str) -> Folder:
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    return Folder(tmp_path)


@pytest.mark.parametrize(
    ("stored", "asked"),
    [
        ("a.png", "a.png"),
        ("a.png", "./a.png"),
        ("site/a.png", "site\\a.png"),
        ("site/a.png", ".\\site\\a.png"),
        (unicodedata.normalize("NFD", "é.png"), unicodedata.normalize("NFC", "é.png")),
        (unicodedata.normalize("NFC", "é.png"), unicodedata.normalize("NFD", "é.png")),
    ],
)
def test_names_from_other_systems_are_found(tmp_path: Path, stored: str, asked: str) -> None:
    found = folder(tmp_path, stored).find(asked)
    assert found.samefile(tmp_path / stored)


def test_a_name_that_could_be_two_files_is_not_guessed(tmp_path: Path) -> None:
    names = folder(tmp_path, *(unicodedata.normalize(form, "ée.png") for form in ("NFC", "NFD")))
    assert not names.find("e\u0301\\..\\nothing.png").is_file()
    mixed = "e\u0301e.png" if not (tmp_path / "e\u0301e.png").exists() else "./x/../ée.png"
    assert not names.find(mixed).is_file() or (tmp_path / mixed).is_file()


@pytest.mark.parametrize(
    ("asked", "near"),
    [
        ("im00.PNG", "im00.png"),
        ("IM00.png", "im00.png"),
        ("im00.jpg", "im00.png"),
        ("/data/local-files/?d=proj%2Fimages%2Fim00.png", "im00.png"),
        ("https://example.org/x/im00.png?token=1", "im00.png"),
        ("/elsewhere/images/im00.png", "im00.png"),
        ("im0.png", "im00.png"),
    ],
)
def test_other_names_get_a_hint(tmp_path: Path, asked: str, near: str) -> None:
    names = folder(tmp_path, "im00.png", "other.png")
    assert not names.find(asked).is_file()
    assert names.hint(asked) == f"; did you mean '{near}'?"


def test_a_name_without_a_near_one_gets_an_example(tmp_path: Path) -> None:
    assert folder(tmp_path, "im00.png").hint("zzz.bmp") == "; the folder has names like 'im00.png'"
    (tmp_path / "none").mkdir()
    assert Folder(tmp_path / "none").hint("a.png").endswith("has no files")


def test_links_to_folders_are_followed_and_circles_end(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    folder(inside, "a.png", "sub/b.png")
    folder(outside, "c.png", ".hidden/d.png")
    (inside / "link").symlink_to(outside)
    (outside / "back").symlink_to(inside)
    (inside / "self").symlink_to(inside)
    (inside / "broken").symlink_to(tmp_path / "nothing")
    found = [path.relative_to(inside).as_posix() for path in walk_files(inside)]
    assert found == ["a.png", "link/c.png", "sub/b.png"]


def test_one_file_has_one_identity_however_it_is_spelled(tmp_path: Path) -> None:
    folder(tmp_path, "a.png", "b.png")
    (tmp_path / "soft.png").symlink_to(tmp_path / "a.png")
    assert file_identity(tmp_path / "soft.png") == file_identity(tmp_path / "a.png")
    assert file_identity(tmp_path / "x" / ".." / "a.png") != file_identity(tmp_path / "b.png")
    os.link(tmp_path / "a.png", tmp_path / "hard.png")
    assert file_identity(tmp_path / "hard.png") == file_identity(tmp_path / "a.png")
    assert file_identity(tmp_path / "none.png") == str(tmp_path / "none.png")


@pytest.mark.parametrize("name", ["b", "b.png"])
def test_a_link_to_nothing_is_refused_where_all_files_count(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.png").touch()
    (tmp_path / name).symlink_to(tmp_path / "elsewhere" / "b")
    assert walk_files(tmp_path) == [tmp_path / "a.png"]
    with pytest.raises(DataError, match=rf"/{name} leads to .*elsewhere/b, which does not exist; make it"):
        walk_files(tmp_path, whole=True)


@pytest.mark.parametrize("key", ["images", "masks"])
def test_mask_data_with_links_to_nothing_are_refused(tmp_path: Path, key: str) -> None:
    part = mask_folder(tmp_path, 8)
    (Path(part[key]) / "more").symlink_to(tmp_path / "unmounted")
    with pytest.raises(DataError, match="which does not exist"):
        prepared(Task.SEGMENTATION, {"masks": {"train": part, "classes": ["ground", "cell"]}})
