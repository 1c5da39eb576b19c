"""Copies of training and validation images among the images of shifted domains."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from trainables.data.prepared import PreparedSplit, open_prepared
from trainables.specs.data import Split
from trainables.wording import few, plural

DIGESTS = "pixels.json"
"""The file in a folder of prepared data that holds the digests of its images' pixels."""


def seen_copies(images: Path, domains: Mapping[str, Path]) -> list[str]:
    """The warnings about domains that hold images with the pixels of training or validation images.

    images, domains: folders of prepared data, of one size. A file that is the same one is refused elsewhere;
    this finds copies under other names, on which a model seems more robust than it is.
    """
    if not domains:
        return []
    own = _digests(images)
    known = {
        digest: f"{split} {name}" for split in (Split.TRAIN, Split.VALIDATION) for name, digest in own[split]
    }
    found = []
    for domain, folder in domains.items():
        twice = [
            f"{name} is {known[digest]}"
            for part in _digests(folder).values()
            for name, digest in part
            if digest in known
        ]
        if twice:
            found.append(f"domain {domain}: {_counted(twice)}")
    return found


def pixel_digest(planes: bytes) -> bytes:
    """What images with the same prepared pixels have in common."""
    return hashlib.blake2b(planes, digest_size=16).digest()


def write_digests(folder: Path, digests: Mapping[Split, Sequence[bytes]]) -> None:
    """Keep the digests of each split's images, in their order, so that the pixels are not read again."""
    held = {str(split): [digest.hex() for digest in own] for split, own in digests.items()}
    (folder / DIGESTS).write_text(json.dumps(held, separators=(",", ":")), encoding="utf-8")


def _digests(folder: Path) -> dict[Split, list[tuple[str, bytes]]]:
    """Name and digest of each image of a folder of prepared data."""
    splits = open_prepared(folder).splits
    try:
        held = json.loads((folder / DIGESTS).read_bytes())
        return {
            split: list(zip(part.names, map(bytes.fromhex, held[split]), strict=True))
            for split, part in splits.items()
        }
    except (OSError, ValueError, KeyError, TypeError):  # of an older version, which kept none, or damaged
        return {split: list(_computed(part)) for split, part in splits.items()}


def _computed(part: PreparedSplit) -> Iterator[tuple[str, bytes]]:
    for i, name in enumerate(part.names):
        yield name, pixel_digest(part.planes(i).tobytes())


def _counted(twice: Sequence[str]) -> str:
    count = f"{plural(len(twice), 'image')} {'has' if len(twice) == 1 else 'have'}"
    return (
        f"{count} the same pixels as images for training or validation, so that metrics there are too "
        f"good: {few(twice, counted=True)}"
    )
