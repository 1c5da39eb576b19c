from __future__ import annotations

import json
import os
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from data_makers import coco_folder, mask_folder, prepared

from trainables.data.content.digests import files_below
from trainables.data.files.file_names import Folder, file_identity, lost_links, walk_files
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
    # The fingerprint counts what is read.
    assert list(files_below(inside).items()) == list(zip(found, walk_files(inside), strict=True))


def test_a_link_to_itself_leads_to_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to(tmp_path / "a.png")
    assert walk_files(tmp_path) == []
    assert lost_links(tmp_path).startswith(f"{tmp_path}: 1 link to what does not exist, such as a.png, which")


def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="must be a folder that can be listed"):
        walk_files(tmp_path / "nowhere")


def test_one_file_has_one_identity_however_it_is_spelled(tmp_path: Path) -> None:
    folder(tmp_path, "a.png", "b.png")
    (tmp_path / "soft.png").symlink_to(tmp_path / "a.png")
    assert file_identity(tmp_path / "soft.png") == file_identity(tmp_path / "a.png")
    assert file_identity(tmp_path / "x" / ".." / "a.png") != file_identity(tmp_path / "b.png")
    os.link(tmp_path / "a.png", tmp_path / "hard.png")
    assert file_identity(tmp_path / "hard.png") == file_identity(tmp_path / "a.png")
    assert file_identity(tmp_path / "none.png") == str(tmp_path / "none.png")


def test_a_link_to_nothing_is_refused_only_where_it_names_a_needed_file(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    (tmp_path / "latest").symlink_to(tmp_path / "elsewhere" / "b")
    (tmp_path / "notes.txt").symlink_to(tmp_path / "elsewhere" / "b")
    assert walk_files(tmp_path, needed={".png"}) == [tmp_path / "a.png"]
    (tmp_path / "b.PNG").symlink_to(tmp_path / "elsewhere" / "b")
    assert walk_files(tmp_path) == [tmp_path / "a.png"]
    with pytest.raises(DataError, match=r"/b\.PNG leads to .*elsewhere/b, which does not exist; make it"):
        walk_files(tmp_path, needed={".png"})


@pytest.mark.parametrize("key", ["images", "masks"])
def test_mask_data_with_links_to_nothing_say_so(tmp_path: Path, key: str) -> None:
    """Such a link may be a folder of images on a disk that is not mounted."""
    part = mask_folder(tmp_path, 8)
    (Path(part[key]) / "more").symlink_to(tmp_path / "unmounted")
    data: dict[str, Any] = {"masks": {"train": part, "classes": ["ground", "cell"]}}
    (warning,) = prepared(Task.SEGMENTATION, data).meta["warnings"]
    assert "1 link to what does not exist, such as more, which leads to" in warning
    (Path(part[key]) / "more.png").symlink_to(tmp_path / "unmounted.png")
    data["masks"]["ignore"] = 255  # so that the data are prepared anew
    with pytest.raises(DataError, match="which does not exist"):
        prepared(Task.SEGMENTATION, data)


def test_a_name_that_no_file_system_allows_is_absent(tmp_path: Path) -> None:
    name = 300 * "a" + ".png"
    found = folder(tmp_path, "b.png").find(name)
    assert found == tmp_path / name
    assert file_identity(found) == str(found)


def test_an_image_with_a_name_that_is_too_long_is_a_missing_file(tmp_path: Path) -> None:
    part = coco_folder(tmp_path, 8)
    path = Path(part["annotations"])
    file = json.loads(path.read_text())
    file["images"][0]["file_name"] = 300 * "a" + ".png"
    path.write_text(json.dumps(file))
    with pytest.raises(DataError, match=r"missing_file: there is no file"):
        prepared(Task.DETECTION, {"coco": {"train": part}})
