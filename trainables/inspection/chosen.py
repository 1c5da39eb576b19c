"""Which images are shown: those with faults and signs first, then every class, then all parts evenly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from trainables.inspection.images import SeenImage
from trainables.inspection.leaks import Leak, LeakKind
from trainables.inspection.signs import Sign

SIGN = "sign"
"""How the reason begins for an image that only shows a sign, followed by the sign's number."""
AT_FAULT = 0.5
"""The most of the images that are shown for their faults, if there are others."""


@dataclass(frozen=True, eq=False)
class Chosen:
    """An image to show, and why. why: its faults in words, and its signs; empty for a plain example."""

    image: SeenImage
    why: tuple[str, ...]

    @property
    def faulty(self) -> bool:
        """Whether it has a fault, and not only a sign."""
        return any(not reason.startswith(SIGN) for reason in self.why)


def choose_images(
    images: Sequence[SeenImage], signs: Sequence[Sign], leaks: Sequence[Leak], count: int
) -> list[Chosen]:
    """At most `count` images, those with faults first."""
    reasons = _reasons(images, signs, leaks)
    at_fault = [image for image in images if id(image) in reasons]
    plain = [image for image in images if id(image) not in reasons]
    most = max(count - len(plain), round(AT_FAULT * count))
    chosen = _by_kind(at_fault, reasons)[:most]
    chosen += _by_class(plain, chosen, count - len(chosen))
    chosen += _evenly([i for i in plain if not _among(i, chosen)], chosen, count - len(chosen))
    return [Chosen(image, tuple(reasons.get(id(image), ()))) for image in chosen]


def _reasons(
    images: Sequence[SeenImage], signs: Sequence[Sign], leaks: Sequence[Leak]
) -> dict[int, list[str]]:
    """What is to be seen in an image, by its `id`."""
    found: dict[int, list[str]] = {}
    for image in images:
        for finding in image.findings:
            found.setdefault(id(image), []).append(f"{finding.fault}: {finding.detail} ({finding.action})")
    for leak in leaks:
        if leak.kind is not LeakKind.SAME_NAME:
            for image in leak.images:
                found.setdefault(id(image), []).append(f"{leak.kind}: {leak.text()}")
    for number, sign in enumerate(signs, start=1):
        for image in sign.images:
            found.setdefault(id(image), []).append(f"{SIGN} {number}")
    return found


def _by_kind(at_fault: Sequence[SeenImage], reasons: dict[int, list[str]]) -> list[SeenImage]:
    """The images in turns by the kind of their first reason and by part, so that each kind is shown."""
    groups: dict[tuple[str, str], list[SeenImage]] = {}
    for image in at_fault:
        kind = reasons[id(image)][0].partition(":")[0]
        if image.findings:
            kind += image.findings[0].action
        groups.setdefault((kind, image.label), []).append(image)
    return [image for turn in zip_longest(*groups.values()) for image in turn if image is not None]


def _by_class(plain: Sequence[SeenImage], shown: Iterable[SeenImage], count: int) -> list[SeenImage]:
    """For each class that is not shown yet, the rarest first, the image with most of its objects."""
    seen = {int(number) for image in shown for number in image.shown_classes}
    by_class: dict[int, list[SeenImage]] = {}
    for image in plain:
        for number in image.shown_classes.tolist():
            by_class.setdefault(number, []).append(image)
    chosen: list[SeenImage] = []
    for number in sorted(by_class, key=lambda n: (len(by_class[n]), n)):
        if number in seen or len(chosen) >= count:
            continue
        best = max(by_class[number], key=lambda image: _weight(image, number))
        chosen.append(best)
        seen.update(best.shown_classes.tolist())
    return chosen


def _weight(image: SeenImage, number: int) -> int:
    if len(image.pixels):
        return int(image.pixels[number])
    return int((image.labels == number).sum())


def _evenly(plain: Sequence[SeenImage], shown: Sequence[SeenImage], count: int) -> list[SeenImage]:
    """Images in turns by part, evenly spread over each; parts of which least is shown begin."""
    parts: dict[str, list[SeenImage]] = {}
    often = Counter(image.label for image in shown)
    for image in sorted(plain, key=lambda image: often[image.label]):
        parts.setdefault(image.label, []).append(image)
    share = -(-count // max(1, len(parts)))
    spread = [_spread(images, share) for images in parts.values()]
    turns = [image for turn in zip_longest(*spread) for image in turn if image is not None]
    if len(turns) < count:  # small parts leave room for others
        turns += [image for image in plain if not _among(image, turns)]
    return turns[: max(0, count)]


def _spread(images: Sequence[SeenImage], count: int) -> list[SeenImage]:
    if len(images) <= count:
        return list(images)
    return [images[round((number + 0.5) * len(images) / count - 0.5)] for number in range(count)]


def _among(image: SeenImage, others: Sequence[SeenImage]) -> bool:
    return any(image is other for other in others)
