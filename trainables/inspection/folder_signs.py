"""Signs in the folders of images and masks: links, links that became text, and files that nothing lists."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from PIL import Image

from trainables.data.files.file_names import file_identity, walk_below
from trainables.errors import DataError
from trainables.inspection.parts import ReadData
from trainables.inspection.signs import Sign
from trainables.specs.data import DataSpec, Split
from trainables.wording import few, plural

LONGEST_LINK = 1024
"""Bytes of a file that may be a link that was stored as text."""


def folder_signs(data: DataSpec, read: ReadData) -> list[Sign]:
    """The signs of all folders that the data name."""
    folders: dict[Path, set[str]] = defaultdict(set)
    for split in Split:
        part = getattr(data.source, split.value, None)
        for key in ("images", "masks"):
            if isinstance(name := getattr(part, key, None), str) and Path(name).is_dir():
                folders[Path(name)].add(key)
    known = {sample.origin for part in read.parts for sample in part.part.samples}
    signs: list[Sign] = []
    for folder, kinds in folders.items():
        with suppress(DataError):  # a folder that cannot be listed, which its reader refuses
            files = [(name, path) for name, path, exists in walk_below(folder) if exists]
            signs += [*_links(folder), *_links_as_text(folder, files)]
            if data.coco is not None and "images" in kinds and known:
                signs += _unlisted(folder, files, known)
    return signs


def _links(folder: Path) -> Iterator[Sign]:
    linked = sorted(path for path in folder.rglob("*") if path.is_symlink() and path.is_dir())
    for path in linked[:5]:
        count = sum(exists for _, _, exists in walk_below(path))
        yield Sign(
            f"{path.relative_to(folder)} in {folder} is a link to {os.readlink(path)}; it is followed, with "
            f"{plural(count, 'file')}"
        )


def _links_as_text(folder: Path, files: list[tuple[str, Path]]) -> Iterator[Sign]:
    """git writes a link as a file with its target where links are switched off; so do some archives."""
    for name, path in files:
        if path.suffix.lower() in Image.registered_extensions():
            continue
        with suppress(OSError, UnicodeDecodeError):
            if path.stat().st_size > LONGEST_LINK:
                continue
            target = path.read_text(encoding="utf-8").strip()
            if target and "\n" not in target and (path.parent / target).exists():
                yield Sign(
                    f"{name} in {folder} is no image but a text file with the path {target}, which exists: a "
                    "link that was stored as text; make it a link again, or the files there are missing here"
                )


def _unlisted(folder: Path, files: list[tuple[str, Path]], known: set[str]) -> Iterator[Sign]:
    pictures = [(n, p) for n, p in files if p.suffix.lower() in Image.registered_extensions()]
    alone = [name for name, path in pictures if file_identity(path) not in known]
    if alone:
        yield Sign(
            f"{len(alone)} of {plural(len(pictures), 'image')} in {folder} {_are(len(alone))} in no "
            f"annotation file ({few(alone)}): negative examples that a converter dropped, or not meant"
        )


def _are(count: int) -> str:
    return "is" if count == 1 else "are"
