"""Which mask belongs to which image: by their names, in two folders or in one."""

from __future__ import annotations

import string
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from PIL import Image

from trainables.data.files.file_names import file_identity, walk_files
from trainables.data.sample import need_folder
from trainables.errors import DataError
from trainables.specs.data import MaskPart

OFTEN = 0.5
"""The share of the images from which a difference of names is a habit of the data set."""
PROBED = 50
"""Masks that are compared with all images to find out how names differ."""


@dataclass(frozen=True)
class Pair:
    """An image, with its mask if there is one. name: the image's path below its folder."""

    name: str
    image: Path
    mask: Path | None


@dataclass(frozen=True)
class Pairs:
    """The pairs of one part, by name.

    alone: masks without an image, by name.  hint: how the names of both probably differ, as a setting.
    doubled: images that are the same file as an earlier one, with that one's name.
    """

    pairs: tuple[Pair, ...]
    alone: tuple[str, ...]
    hint: str
    doubled: tuple[tuple[str, str], ...]


def find_pairs(part: MaskPart, suffix: str | None, where: str) -> Pairs:
    """Pair the images and masks of a part.

    suffix: what a mask's name has after the image's name: `_mask`, `_mask.png`, or, for images and masks in
    one folder, only an ending such as `.png`.  Raises DataError if files cannot be told apart.
    """
    images = need_folder(part.images, what=f"{where}.images")
    masks = need_folder(part.masks, what=f"{where}.masks")
    if images.samefile(masks) and suffix is None:
        raise DataError(
            f"{where}: images and masks are in one folder, {part.images}, so their names must say which is "
            "which: set data.masks.suffix to what the masks' names end with, such as _mask or .png"
        )
    drawings = _by_stem(_image_files(masks), masks, suffix)
    if not drawings:
        raise DataError(_no_masks(masks, suffix, where))
    taken = set() if suffix is None else set(drawings.values())
    pictures = _by_stem([path for path in _image_files(images) if path not in taken], images)
    if not pictures:
        more = ", other than masks," if taken else ""
        raise DataError(f"{where}.images must be a folder with images, but {part.images} has none{more}")
    kept, doubled = _each_once(pictures, drawings, images)
    pairs = tuple(
        Pair(path.relative_to(images).as_posix(), path, drawings.get(stem)) for stem, path in kept.items()
    )
    alone = [stem for stem in sorted(drawings) if stem not in pictures]
    hint = "" if suffix is not None else _habit([s for s in kept if s not in drawings], alone)
    return Pairs(pairs, tuple(drawings[s].relative_to(masks).as_posix() for s in alone), hint, doubled)


def _by_stem(files: Sequence[Path], folder: Path, suffix: str | None = None) -> dict[str, Path]:
    """The files by the stem of their image. suffix: only masks that end so; see `find_pairs`."""
    found: dict[str, Path] = {}
    for path in files:
        name = path.relative_to(folder).as_posix()
        stem = _stem(name) if suffix is None else _without(name, suffix)
        if stem is None:
            continue
        if stem in found:
            raise DataError(_collision(found[stem], path))
        found[stem] = path
    return found


def _image_files(folder: Path) -> list[Path]:
    known = Image.registered_extensions()
    return [path for path in walk_files(folder, needed=known) if path.suffix.lower() in known]


def _stem(name: str) -> str:
    """A name without its suffix, with composed letters, as other systems may store them apart."""
    return unicodedata.normalize("NFC", PurePosixPath(name).with_suffix("").as_posix())


def _without(name: str, suffix: str) -> str | None:
    """The stem of a mask's image; None for a file whose name does not end so."""
    # A suffix such as .mask may be followed by the file's own, and one such as .png is it.
    wholes = [_stem(name)] if "." not in suffix else [unicodedata.normalize("NFC", name)]
    if "." in suffix and PurePosixPath(suffix).suffix.lower() not in Image.registered_extensions():
        wholes.append(_stem(name))
    for whole in wholes:
        stem = whole[: len(whole) - len(suffix)]
        if whole.casefold().endswith(suffix.casefold()) and stem and not stem.endswith("/"):
            return stem
    return None


def _no_masks(folder: Path, suffix: str | None, where: str) -> str:
    if suffix is not None and (images := _image_files(folder)):
        return (
            f"{where}.masks must hold files that end with data.masks.suffix ('{suffix}'), but no image file "
            f"in {folder} does, such as {images[0].name}"
        )
    other = sorted({path.suffix.lower() for path in walk_files(folder)} - set(Image.registered_extensions()))
    has = f", but files of {', '.join(repr(end) for end in other[:5])}" if other else ""
    return f"{where}.masks must be a folder with masks as images, such as PNG, but {folder} has none{has}" + (
        "; convert them" if other else ""
    )


def _collision(first: Path, second: Path) -> str:
    return (
        "an image and its mask have the same file name, so the names of images, and those of masks, must "
        f"differ by more than the suffix; {first} and {second} do not: rename one, or remove it"
    )


def _each_once(
    pictures: Mapping[str, Path], drawings: Mapping[str, Path], folder: Path
) -> tuple[dict[str, Path], tuple[tuple[str, str], ...]]:
    """The images without those that are the same file as another, through a link; one with a mask is kept."""
    first: dict[str, str] = {}
    for stem in sorted(pictures, key=lambda s: (s not in drawings, s)):
        first.setdefault(file_identity(pictures[stem]), stem)
    kept, doubled = {}, []
    for stem, path in sorted(pictures.items()):
        own = first[file_identity(path)]
        if own == stem:
            kept[stem] = path
        else:
            doubled.append(
                (path.relative_to(folder).as_posix(), pictures[own].relative_to(folder).as_posix())
            )
    return kept, tuple(doubled)


def _habit(images: Sequence[str], masks: Sequence[str]) -> str:
    """How the names of images without a mask differ from those of masks without an image."""
    ends: Counter[str] = Counter()
    starts: Counter[str] = Counter()
    longest_first = sorted(images, key=len, reverse=True)
    some = masks[:PROBED]
    for mask in some:
        for image in longest_first:
            name, own = PurePosixPath(mask).name, PurePosixPath(image).name
            if mask.startswith(image):
                ends[mask[len(image) :]] += 1
                break
            if name.endswith(own):
                starts[name[: -len(own)]] += 1
                break
    end, front = (counts.most_common(1)[0] if counts else ("", 0) for counts in (ends, starts))
    if end[1] >= max(1, OFTEN * len(some)):
        return f"masks are named like their image with '{end[0]}': set data.masks.suffix: {end[0]}"
    if front[1] >= max(1, OFTEN * len(some)):
        return (
            f"masks are named like their image with '{front[0]}' in front: rename them, or link them into a "
            "folder under the images' names"
        )
    return _other_habit(images, masks)


def _other_habit(images: Sequence[str], masks: Sequence[str]) -> str:
    """How names differ where neither begins nor ends with the other."""
    by_fold = {image.casefold() for image in images}
    if masks and sum(mask.casefold() in by_fold for mask in masks) >= OFTEN * len(masks):
        return "names differ in upper and lower case: rename the masks as their images are spelled"
    (fronts, cores, ends), (own_fronts, own_cores, own_ends) = _parts(images), _parts(masks)
    if len(images) < 2 or len(masks) < 2 or len(set(cores) & set(own_cores)) < OFTEN * len(own_cores):
        return ""
    return (
        f"images are named '{fronts}…{ends}' and masks '{own_fronts}…{own_ends}': rename them alike, or link "
        "them into folders under one name"
    )


def _parts(names: Sequence[str]) -> tuple[str, list[str], str]:
    """The beginning and the end that all names share, without the digits next to it, and what is between."""
    front = _shared_start(names).rstrip(string.digits)
    end = _shared_start([name[::-1] for name in names])[::-1].lstrip(string.digits)
    return front, [name[len(front) : len(name) - len(end)] for name in names], end


def _shared_start(names: Sequence[str]) -> str:
    """The letters that all names begin with."""
    first, last = min(names, default=""), max(names, default="")
    end = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return first[:end]
