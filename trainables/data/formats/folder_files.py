"""What lies in a folder of data: its files by folder and kind, and the splits that names stand for."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath

from PIL import Image

from trainables.data.files.file_names import walk_below
from trainables.data.formats.labelme_file import is_labelme
from trainables.specs.data import Split
from trainables.wording import few, plural

SPLIT_WORDS: Mapping[str, Split] = {
    "train": Split.TRAIN, "training": Split.TRAIN,
    "val": Split.VALIDATION, "valid": Split.VALIDATION, "validation": Split.VALIDATION,
    "dev": Split.VALIDATION,
    "test": Split.TEST, "testing": Split.TEST,
}  # fmt: skip
"""The words in names of files and folders that stand for a split."""
PROBED = 20
"""Images that a COCO JSON file names which are looked for."""


@dataclass(frozen=True)
class JsonFile:
    """What a JSON file is. coco, labelme: whether it is of this format.

    names: the first images that a COCO JSON file lists.  outlined: whether one of its objects has an outline.
    """

    coco: bool = False
    labelme: bool = False
    names: tuple[str, ...] = ()
    outlined: bool = False


@dataclass(frozen=True, eq=False)
class Listing:
    """The files below a folder. files: their paths below it, with '/' between folders."""

    root: Path
    files: tuple[str, ...]

    @classmethod
    def of(cls, root: Path) -> Listing:
        """Raises DataError for a folder that cannot be listed."""
        return cls(root, tuple(name for name, _, exists in walk_below(root) if exists))

    @cached_property
    def images(self) -> dict[str, list[str]]:
        """The images by their folder, '.' for the root."""
        return self.by_folder(Image.registered_extensions())

    @property
    def folders(self) -> list[str]:
        """All folders with files, those of images first, the uppermost first."""
        found = {str(PurePosixPath(name).parent) for name in self.files}
        above = {str(parent) for folder in found for parent in PurePosixPath(folder).parents}
        return sorted(found | above, key=lambda f: (f not in self.images, f.count("/"), f))

    def by_folder(self, suffixes: Iterable[str]) -> dict[str, list[str]]:
        """The files with one of these suffixes, by their folder."""
        wanted, found = set(suffixes), defaultdict(list)
        for name in self.files:
            path = PurePosixPath(name)
            if path.suffix.lower() in wanted:
                found[str(path.parent)].append(path.name)
        return dict(found)

    def path(self, name: str) -> str:
        """The path of a file or folder of the listing."""
        return str(self.root if name == "." else self.root / name)

    def json_file(self, name: str) -> JsonFile:
        """What a JSON file of the listing is."""
        path = self.root / name
        status = path.stat()
        return probe_json(str(path), status.st_size, status.st_mtime_ns)

    def in_words(self) -> str:
        """Its files by suffix and its first folders, for messages."""
        kinds = Counter(PurePosixPath(name).suffix.lower() or "no suffix" for name in self.files)
        counts = few([f"{count} {kind}" for kind, count in kinds.most_common()], 6)
        folders = [folder for folder in self.folders if folder != "."]
        inside = f" in {plural(len(folders), 'folder')} ({few(folders)})" if folders else ""
        return f"{counts or 'no files'}{inside}"


@lru_cache(maxsize=64)
def probe_json(path: str, size: int, modified: int) -> JsonFile:
    """What a JSON file is; remembered as long as its size and time stay."""
    try:
        held = json.loads(Path(path).read_bytes())
    except (OSError, ValueError, RecursionError):
        return JsonFile()
    if is_labelme(held):
        return JsonFile(labelme=True)
    if not isinstance(held, dict) or not all(
        isinstance(held.get(key), list) for key in ("images", "annotations", "categories")
    ):
        return JsonFile()
    names = [image.get("file_name") for image in held["images"][:PROBED] if isinstance(image, dict)]
    outlined = any(isinstance(each, dict) and each.get("segmentation") for each in held["annotations"])
    return JsonFile(coco=True, names=tuple(n for n in names if isinstance(n, str)), outlined=outlined)


def split_of(name: str) -> Split | None:
    """The split that a name stands for, by its last word that is one: `instances_val2017` is validation."""
    words = [word for word in re.split(r"[^a-z]+", name.lower()) if word in SPLIT_WORDS]
    return SPLIT_WORDS[words[-1]] if words else None


def splits_of(names: Iterable[str]) -> dict[Split, list[str]] | None:
    """Names by their splits; None if one of them stands for none, or none for train."""
    found: dict[Split, list[str]] = defaultdict(list)
    for name in names:
        if (split := split_of(name)) is None:
            return None
        found[split].append(name)
    return dict(found) if Split.TRAIN in found else None
