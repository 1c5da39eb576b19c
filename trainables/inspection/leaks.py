"""Images that are in two parts, or twice in one: by content, and by name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from trainables.inspection.images import SeenImage


class LeakKind(StrEnum):
    """What two images have in common."""

    SAME_FILE = "same file"
    SAME_PIXELS = "same pixels"
    SAME_NAME = "same name"


@dataclass(frozen=True)
class Leak:
    """A group of images. places: part and name of each.  across: whether they are in several parts.

    A name alone proves nothing: other folders number their images in the same way.
    """

    kind: LeakKind
    places: tuple[tuple[str, str], ...]
    images: tuple[SeenImage, ...]

    @property
    def across(self) -> bool:
        """Whether the images are in several parts."""
        return len({label for label, _ in self.places}) > 1

    def text(self) -> str:
        """`train a.png = test b.png`."""
        return " = ".join(f"{label} {name}" for label, name in self.places)


def find_leaks(images: Sequence[SeenImage]) -> list[Leak]:
    """The leaks between parts, then copies within a part; an image is listed under the first kind only."""
    found: list[Leak] = []
    known: set[int] = set()
    by_file: dict[str, list[SeenImage]] = defaultdict(list)
    by_pixels: dict[bytes, list[SeenImage]] = defaultdict(list)
    by_name: dict[str, list[SeenImage]] = defaultdict(list)
    for image in images:
        by_file[image.sample.origin].append(image)
        by_name[image.name].append(image)
        if image.evidence is not None:
            by_pixels[image.evidence.digest].append(image)
    groups = [
        *((LeakKind.SAME_FILE, group) for group in by_file.values()),
        *((LeakKind.SAME_PIXELS, group) for group in by_pixels.values()),
        *((LeakKind.SAME_NAME, group) for group in by_name.values()),
    ]
    for kind, group in groups:
        several = len({image.label for image in group}) > 1
        if len(group) < 2 or (kind is LeakKind.SAME_NAME and not several):
            continue
        if all(id(image) in known for image in group):
            continue
        if kind is not LeakKind.SAME_NAME:
            known.update(id(image) for image in group)
        places = tuple((image.label, image.name) for image in group)
        found.append(Leak(kind, places, tuple(group)))
    return sorted(found, key=lambda leak: (not leak.across, list(LeakKind).index(leak.kind)))
