"""Copies of training and validation images among the images of shifted domains."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from trainables.data.prepared import PreparedSplit, open_prepared
from trainables.specs.data import Split
from trainables.wording import plural

SHOWN = 5
"""Names that a warning lists."""


def seen_copies(images: Path, domains: Mapping[str, Path]) -> list[str]:
    """The warnings about domains that hold images with the pixels of training or validation images.

    images, domains: folders of prepared data, of one size. A file that is the same one is refused elsewhere;
    this finds copies under other names, on which a model seems more robust than it is.
    """
    if not domains:
        return []
    splits = open_prepared(images).splits
    known = {
        digest: f"{split} {name}"
        for split in (Split.TRAIN, Split.VALIDATION)
        for name, digest in _digests(splits[split])
    }
    found = []
    for domain, folder in domains.items():
        twice = [
            f"{name} is {known[digest]}"
            for part in open_prepared(folder).splits.values()
            for name, digest in _digests(part)
            if digest in known
        ]
        if twice:
            found.append(f"domain {domain}: {_counted(twice)}")
    return found


def _digests(split: PreparedSplit) -> Iterator[tuple[str, bytes]]:
    for i, name in enumerate(split.names):
        yield name, hashlib.blake2b(split.planes(i).tobytes(), digest_size=16).digest()


def _counted(twice: Sequence[str]) -> str:
    count = f"{plural(len(twice), 'image')} {'has' if len(twice) == 1 else 'have'}"
    more = f" and {len(twice) - SHOWN} more" if len(twice) > SHOWN else ""
    return (
        f"{count} the same pixels as images for training or validation, so that metrics there are too "
        f"good: {', '.join(twice[:SHOWN])}{more}"
    )
