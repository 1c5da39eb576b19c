"""Digests of files, and when a stored one is used again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from trainables.data import content_digest
from trainables.data.content_digest import ABSENT, UNREADABLE, digest_files, digest_of, files_below
from trainables.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three files of one size and one time."""
    made = tmp_path / "data"
    (made / "inner").mkdir(parents=True)
    for name in ("a.png", "b.png", "inner/c.png"):
        (made / name).write_text(f"{name[-5]}{name[-5]}")
        os.utime(made / name, ns=(10**18, 10**18))
    return made


def later() -> int:
    """A clock that runs a day ahead, so that no file is too young to be stored."""
    import time

    return time.time_ns() + 86_400 * 10**9


def digests(folder: Path, clock: Callable[[], int] = later) -> dict[str, str]:
    return digest_files(files_below(folder), str(folder), clock=clock)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are read."""
    found: list[str] = []
    real = content_digest._digest

    def noted(path: Path) -> object:
        found.append(path.name)
        return real(path)

    monkeypatch.setattr(content_digest, "_digest", noted)
    return found


def test_digests_depend_on_names_and_content_alone(folder: Path, tmp_path: Path, cache: Path) -> None:
    first = digests(folder)
    assert sorted(first) == ["a.png", "b.png", "inner/c.png"]
    assert len(set(first.values())) == 3
    copy = Path(shutil.copytree(folder, tmp_path / "copy", copy_function=shutil.copyfile))
    assert digests(copy) == first
    (copy / "a.png").rename(copy / "d.png")
    assert digest_of(digests(copy)) != digest_of(first)


def test_a_file_is_read_once(folder: Path, cache: Path, read: list[str]) -> None:
    first = digests(folder)
    assert sorted(read) == ["a.png", "b.png", "c.png"]
    assert digests(folder) == first
    assert len(read) == 3


def replaced(path: Path) -> None:
    """By another file under its name."""
    other = path.with_name("other")
    other.write_text("xx")
    os.utime(other, ns=(10**18, 10**18))
    other.replace(path)


def rewritten(path: Path) -> None:
    path.write_text("xx")
    os.utime(path, ns=(10**18, 10**18))


@pytest.mark.parametrize("mend", [replaced, rewritten])
def test_another_content_of_the_same_size_and_time_is_seen(
    folder: Path, cache: Path, mend: Callable[[Path], None], read: list[str]
) -> None:
    first = digests(folder)
    mend(folder / "b.png")
    stat = (folder / "b.png").stat()
    assert (stat.st_size, stat.st_mtime_ns) == (2, 10**18)
    second = digests(folder)
    assert {name for name in first if first[name] != second[name]} == {"b.png"}
    assert read[3:] == ["b.png"]


@pytest.mark.parametrize("part", range(5), ids=["device", "inode", "size", "modified", "changed"])
def test_a_stored_digest_counts_only_while_nothing_of_its_file_has_changed(
    folder: Path, cache: Path, read: list[str], part: int
) -> None:
    digests(folder)
    rows = content_digest._read_store(str(folder))
    for row in rows.values():
        row[part] = int(row[part]) + 1
        row[-1] = "of another content"
    content_digest._write_store(str(folder), rows)
    assert "of another content" not in digests(folder).values()
    assert len(read) == 6


def test_the_digest_of_a_file_that_has_just_changed_is_not_stored(
    folder: Path, cache: Path, read: list[str]
) -> None:
    changed = (folder / "a.png").stat().st_ctime_ns
    digests(folder, lambda: changed + 10**9)
    digests(folder, lambda: changed + 10**9)
    assert len(read) == 6


def test_a_file_that_changes_while_it_is_read_is_an_error(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = content_digest._read

    def slow(file: object) -> tuple[str, int]:
        result = real(file)  # type: ignore[arg-type]
        with (folder / "a.png").open("a") as other:
            other.write("more")
        return result

    monkeypatch.setattr(content_digest, "_read", slow)
    with pytest.raises(DataError, match=r"a\.png changed while it was read.*start again"):
        digests(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"version": 1}', b"\xff\x00", b'{"files": 7}'])
def test_a_damaged_store_is_made_anew(folder: Path, cache: Path, content: bytes, read: list[str]) -> None:
    first = digests(folder)
    (store,) = (cache / "digests").iterdir()
    store.write_bytes(content)
    assert digests(folder) == first
    digests(folder)
    assert len(read) == 6


def test_a_cache_that_cannot_be_written_only_costs_time(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: list[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ADAPTERTUNE_CACHE", str(tmp_path / "file" / "cache"))
    assert digests(folder) == digests(folder)
    assert len(read) == 6


def test_processes_that_ask_at_once_agree(folder: Path, cache: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: digests(folder), range(32)))
    assert all(each == found[0] for each in found)
    assert [path.suffix for path in (cache / "digests").iterdir()] == [".json"]
    assert digests(folder) == found[0]


def test_many_files_are_digested_in_threads_with_the_same_result(tmp_path: Path, cache: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for i in range(300):
        (folder / f"{i:03d}").write_text(str(i % 100))
    found = digests(folder)
    assert list(found) == sorted(found)
    assert len(set(found.values())) == 100
    assert found["000"] == found["100"]


def test_what_is_no_file_has_no_digest(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    (tmp_path / "self").symlink_to(tmp_path / "self")
    os.mkfifo(tmp_path / "pipe")
    names = ("gone", "self", "pipe", "a\0b", "n" * 300)
    asked = {name: tmp_path / name for name in (*names, "folder")} | {"folder": tmp_path}
    assert set(digest_files(asked, "scope").values()) == {ABSENT}


def test_a_file_without_permission_is_not_taken_for_an_empty_one(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(self: Path, *_: object, **__: object) -> object:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refused)
    assert set(digests(folder).values()) == {UNREADABLE}
    monkeypatch.undo()
    monkeypatch.setenv("ADAPTERTUNE_CACHE", str(cache))
    assert UNREADABLE not in digests(folder).values()


# --- folders ----------------------------------------------------------------------------------


def test_linked_folders_are_followed_and_loops_end(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "d.png").touch()
    (elsewhere / "back").symlink_to(folder)
    (folder / "linked").symlink_to(elsewhere)
    (folder / "loop").symlink_to(folder)
    (folder / "self").symlink_to(folder / "self")
    assert sorted(files_below(folder)) == ["a.png", "b.png", "inner/c.png", "linked/d.png"]


def test_hidden_and_other_files_are_left_out(folder: Path) -> None:
    (folder / ".DS_Store").touch()
    (folder / ".git").mkdir()
    (folder / ".git" / "x.png").touch()
    (folder / "notes.txt").touch()
    (folder / "D.PNG").touch()
    found = files_below(folder, frozenset({".png"}))
    assert sorted(found) == ["D.PNG", "a.png", "b.png", "inner/c.png"]


def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="must be a folder that can be listed"):
        files_below(tmp_path / "nowhere")
