"""Which file a name means: lists come from other systems, and one file can be spelled in several ways."""

from __future__ import annotations

import difflib
import os
import threading
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qs, unquote, urlsplit

from trainables.errors import DataError


def walk_files(folder: Path, *, whole: bool = False) -> list[Path]:
    """All files below `folder` but hidden ones, sorted. Links to folders are followed, never in a circle.

    whole: raise DataError for a link to something that does not exist, which may be a folder of files.
    """
    # `Path.rglob` follows no links to folders.
    return sorted(_walk(folder, (), whole))


def _walk(folder: Path, above: tuple[tuple[int, int], ...], whole: bool) -> Iterator[Path]:
    status = folder.stat()
    if (own := (status.st_dev, status.st_ino)) in above:
        return
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from _walk(path, (*above, own), whole)
        elif path.is_file():
            yield path
        elif whole and path.is_symlink():
            raise DataError(
                f"links must lead to files or folders, but {path} leads to {os.readlink(path)}, which does "
                "not exist; make it available, such as by mounting its disk, or remove the link"
            )


def file_identity(path: Path) -> str:
    """The same text for all spellings of one file, its links included; the path if there is no file."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return str(path.absolute())
    # An inode is only asked where it tells more than the path: not all file systems have lasting ones.
    return f"inode {status.st_dev}:{status.st_ino}" if status.st_nlink > 1 else str(path.resolve())


class Folder:
    """The files of a folder, found by the names that a list gives them."""

    def __init__(self, path: Path) -> None:
        """Nothing is read before a name is not found as it is."""
        self.path = path
        self._lock = threading.Lock()
        self._known: dict[str, list[str]] | None = None

    def find(self, name: str) -> Path:
        """The file that `name` means: itself, or the only one with that name after normalising.

        A path that does not exist if there is none; see `hint`.
        """
        path = self.path / name
        if path.is_file():
            return path
        found = self._names().get(_normal(name), [])
        return self.path / found[0] if len(found) == 1 else path

    def hint(self, name: str) -> str:
        """What a name that is not found probably means, as the end of a message; '' if nothing is near."""
        names = [each for group in self._names().values() for each in group]
        if not names:
            return f"; the folder {self.path} has no files"
        asked = _from_url(name)
        by_end = [each for each in names if _ends_alike(each, asked)]
        if len(by_end) == 1:
            return f"; did you mean '{by_end[0]}'?"
        folded = {each.casefold(): each for each in names}
        near = difflib.get_close_matches(asked.casefold(), list(folded), n=1, cutoff=0.8)
        return f"; did you mean '{folded[near[0]]}'?" if near else f"; the folder has names like '{names[0]}'"

    def _names(self) -> dict[str, list[str]]:
        with self._lock:
            if self._known is None:
                known: dict[str, list[str]] = defaultdict(list)
                for path in walk_files(self.path):
                    name = path.relative_to(self.path).as_posix()
                    known[_normal(name)].append(name)
                self._known = dict(known)
            return self._known


def _normal(name: str) -> str:
    """A name with '/' between folders, without '.', and with composed letters."""
    return str(PurePosixPath(unicodedata.normalize("NFC", name.replace("\\", "/"))))


def _from_url(name: str) -> str:
    """The path in a name that is a URL, such as Label Studio's `/data/local-files/?d=folder%2Fa.png`."""
    parts = urlsplit(name)
    inner = parse_qs(parts.query).get("d", [])
    return _normal(inner[0] if inner else unquote(parts.path if parts.scheme or parts.query else name))


def _ends_alike(name: str, asked: str) -> bool:
    """Whether the last parts of both are the same, cases and suffix aside."""
    mine, theirs = PurePosixPath(name.casefold()), PurePosixPath(asked.casefold())
    return mine.stem == theirs.stem
