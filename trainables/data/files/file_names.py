"""Which file a name means: lists come from other systems, and one file can be spelled in several ways."""

from __future__ import annotations

import difflib
import errno
import os
import threading
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qs, unquote, urlsplit

from trainables.errors import DataError
from trainables.wording import plural


def walk_files(folder: Path, *, needed: Collection[str] = ()) -> list[Path]:
    """All files below `folder`, sorted; see `walk_below`, also for errors.

    needed: suffixes in lower case; raise DataError for a link with one of these that leads to
    nothing.
    """
    found = list(walk_below(folder))
    for _, path, exists in found:
        if not exists and path.suffix.lower() in needed:
            raise DataError(
                f"links must lead to files or folders, but {path} leads to {os.readlink(path)}, which does "
                "not exist; make it available, such as by mounting its disk, or remove the link"
            )
    return [path for _, path, exists in found if exists]


def lost_links(folder: Path) -> str:
    """A message of the links below `folder` that lead to nothing, each of which may be a folder of files."""
    lost = [(name, path) for name, path, exists in walk_below(folder) if not exists]
    if not lost:
        return ""
    name, first = lost[0]
    return (
        f"{folder}: {plural(len(lost), 'link')} to what does not exist, such as {name}, "
        f"which leads to {os.readlink(first)}; if files are missing, make it available, such as by "
        "mounting its disk"
    )


def walk_below(folder: Path) -> Iterator[tuple[str, Path, bool]]:
    """Yield name, path, and whether it exists, of each file below `folder` and of each link to nothing.

    A name is a path relative to `folder`. They come sorted, without hidden files and folders. Links to
    folders are followed, never in a circle.  Raises DataError for a folder that cannot be listed.
    """
    return _walk(str(folder), "", ())


def _walk(folder: str, inside: str, above: tuple[tuple[int, int], ...]) -> Iterator[tuple[str, Path, bool]]:
    try:
        status = os.stat(folder)
        # `Path.rglob` follows no links to folders, and `Path.iterdir` would ask for the status of each file.
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"{folder} must be a folder that can be listed: {error.strerror}") from error
    if (own := (status.st_dev, status.st_ino)) in above:
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        try:
            is_folder, is_file = entry.is_dir(), entry.is_file()
        except OSError:  # a link to itself, or to where this user may not look
            is_folder = is_file = False
        if is_folder:
            yield from _walk(entry.path, f"{inside}{entry.name}/", (*above, own))
        elif is_file or (entry.is_symlink() and not os.path.exists(entry.path)):
            yield f"{inside}{entry.name}", Path(entry.path), is_file


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
        if is_file(path):
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
                for name, _, exists in walk_below(self.path):
                    if exists:
                        known[_normal(name)].append(name)
                self._known = dict(known)
            return self._known


def is_file(path: Path) -> bool:
    """Whether a file exists at `path`, which may have a name that the file system does not allow."""
    try:
        return path.is_file()
    except OSError as error:
        # `Path.is_file` raises it for a name that is longer than the file system allows.
        if error.errno == errno.ENAMETOOLONG:
            return False
        raise


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
