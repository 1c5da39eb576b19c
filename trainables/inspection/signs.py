"""Signs of faults that a reader cannot undo, because what a converter lost or shifted is gone.

A sign is no proof: each says what was counted and what it may come from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from trainables.data.files.drawn import ASSUMED
from trainables.data.masks import FALLING
from trainables.inspection.counts import ClassCounts, PartCounts, is_unlabelled, joined, tiny_boxes
from trainables.inspection.images import Array, SeenImage
from trainables.wording import few, plural

UNLABELLED = 0.25
"""The share of images without an object from which their number is a sign."""
ENOUGH = 20
"""The boxes that a sign of their form needs at least."""
CLEAR = 0.9
"""The share of boxes that must agree on a shift."""
IMBALANCE = 20.0
"""How many times as many objects the most frequent class must have as the rarest."""
MANY_TINY = 0.1
"""The share of boxes that are tiny for the model from which it is a sign."""
NEAR = 1.5
"""Pixels from a border within which a box counts as touching it."""
WHOLE_IMAGE = 0.95
"""The share of the image's area from which a box shows no place."""


@dataclass(frozen=True)
class Sign:
    """What was noticed. images: some that show it, for the contact sheet."""

    text: str
    images: tuple[SeenImage, ...] = ()


def find_signs(
    images: Sequence[SeenImage],
    parts: Sequence[PartCounts],
    classes: Sequence[ClassCounts],
    background: int | None = None,
) -> list[Sign]:
    """The signs in what the images say, whatever format the data have. background: the class of no object."""
    used = [image for image in images if image.used]
    return [
        *_unlabelled(used, parts, background),
        *_unused_classes(classes),
        *_imbalance(classes),
        *_all_crowds(parts),
        *_counted_from_one(used),
        *_against_outlines(used),
        *_repeated_boxes(used),
        *_whole_images(used),
        *_tiny(used),
        *_turned(used),
        *_ignored(used),
        *_noticed(images),
    ]


def _unlabelled(
    used: Sequence[SeenImage], parts: Sequence[PartCounts], background: int | None
) -> Iterator[Sign]:
    for part in parts:
        if part.unlabelled < max(3, UNLABELLED * part.used):
            continue
        without = [i for i in used if i.label == part.label and is_unlabelled(i, background)]
        yield Sign(
            f"{part.label}: {part.unlabelled} of {plural(part.used, 'image')} show no object; are these "
            "negative examples, or were their annotations lost, as by a converter that skips polygons?",
            tuple(without[:2]),
        )


def _unused_classes(classes: Sequence[ClassCounts]) -> Iterator[Sign]:
    unused = [c.name for c in classes if not c.images]
    if not unused or len(unused) == len(classes):
        return
    if not classes[-1].images:
        yield Sign(
            f"the last class, '{classes[-1].name}', is never used: class numbers may be shifted by one, "
            "such as COCO's ids (from 1) written as YOLO's class numbers (from 0); look whether the classes "
            "on the pictures are right"
        )
    if others := [name for name in unused if name != classes[-1].name]:
        numbers = ", ".join(str(i) for i, c in enumerate(classes) if c.name in others)
        yield Sign(
            f"{plural(len(others), 'class', 'classes')} never used: {few(others, 10, counted=True)} (place "
            f"{numbers} of 0 to {len(classes) - 1}); numbers with gaps may come from ids that were not "
            "renumbered"
        )


def _imbalance(classes: Sequence[ClassCounts]) -> Iterator[Sign]:
    counts = {c.name: c.objects for c in classes if c.objects}
    if len(counts) < 2:
        return
    rarest, most = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
    if counts[most] >= IMBALANCE * counts[rarest]:
        yield Sign(
            f"classes are imbalanced: {counts[most]:,} objects of '{most}' and {counts[rarest]:,} of "
            f"'{rarest}', {counts[most] / counts[rarest]:,.0f} times as many; `sampling: {{balance: class}}` "
            "or `loss_weights` may help the rare ones"
        )


def _all_crowds(parts: Sequence[PartCounts]) -> Iterator[Sign]:
    for part in parts:
        if part.crowds and part.crowds == part.boxes:
            yield Sign(
                f"{part.label}: all {part.boxes} boxes are crowds (`iscrowd: 1`), so that nothing can be "
                "learned from them, and no metric counts them; is the flag meant?"
            )


def _counted_from_one(used: Sequence[SeenImage]) -> Iterator[Sign]:
    """Pascal VOC counts pixels from 1: boxes at the near border then begin at 1, and none at 0."""
    boxes = joined([image.boxes for image in used if len(image.boxes)]).reshape(-1, 4)
    if len(boxes) < ENOUGH:
        return
    sizes = np.concatenate([np.tile(image.size[::-1], (len(image.boxes), 1)) for image in used])
    near, far = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    touching = near[near <= NEAR]
    if len(touching) >= ENOUGH // 4 and (touching >= 1).mean() >= CLEAR:
        yield Sign(
            f"{int((touching >= 1).sum())} of {len(touching)} box sides near the left or upper border are at "
            "pixel 1 and not at 0: pixels may be counted from 1, as Pascal VOC does, so that all boxes are "
            "off by one",
            _with_boxes_near(used),
        )
    beyond = far - sizes
    outside = beyond[beyond > -NEAR]
    if len(outside) >= ENOUGH // 4 and (np.abs(outside - 1) < 0.25).mean() >= CLEAR:
        yield Sign(
            f"{len(outside)} box sides near the right or lower border pass it by one pixel: widths and "
            "heights may be one too large, as where both border pixels were counted"
        )


def _with_boxes_near(used: Sequence[SeenImage]) -> tuple[SeenImage, ...]:
    return tuple(i for i in used if len(i.boxes) and (i.boxes[:, :2] <= NEAR).any())[:2]


def _against_outlines(used: Sequence[SeenImage]) -> Iterator[Sign]:
    """Boxes that are all larger than their own polygons by the same pixel."""
    both = [
        np.concatenate([image.boxes, image.outlines], axis=1)[np.isfinite(image.outlines).all(axis=1)]
        for image in used
        if len(image.boxes)
    ]
    pairs = joined(both).reshape(-1, 8)
    if len(pairs) < ENOUGH:
        return
    wider = pairs[:, 2:4] - pairs[:, 6:8]
    for step, word in ((1.0, "larger"), (-1.0, "smaller")):
        if (np.abs(wider - step) < 0.25).all(axis=1).mean() >= CLEAR:
            yield Sign(
                f"boxes are one pixel {word} than their polygons or masks in {len(pairs)} objects: they may "
                "have been taken from outlines by a converter that counts both border pixels",
            )
    shifted = pairs[:, :2] - pairs[:, 4:6]
    same = np.median(shifted, axis=0)
    if np.abs(same).max() >= 0.75 and (np.abs(shifted - same) < 0.25).all(axis=1).mean() >= CLEAR:
        yield Sign(
            f"boxes lie {same[0]:+.3g} and {same[1]:+.3g} pixels (right, down) from their polygons in "
            f"{len(pairs)} objects: one of the two counts pixels from 1"
        )


def _repeated_boxes(used: Sequence[SeenImage]) -> Iterator[Sign]:
    found: list[SeenImage] = []
    count = 0
    for image in used:
        if len(image.labels) < 2:
            continue
        rows = np.concatenate([image.labels[:, None], image.boxes.round(1)], axis=1)
        again = len(rows) - len(np.unique(rows, axis=0))
        if again:
            count += again
            found.append(image)
    if count:
        has = "has a box" if len(found) == 1 else "have boxes"
        yield Sign(
            f"{plural(len(found), 'image')} {has} of one class twice in the same place "
            f"({plural(count, 'repeated box', 'repeated boxes')}): a model is punished for finding an object "
            f"once; {few([f'{i.label} {i.name}' for i in found], counted=True)}",
            tuple(found[:2]),
        )


def _whole_images(used: Sequence[SeenImage]) -> Iterator[Sign]:
    shown = [i for i in used if len(i.boxes)]
    whole = [_covers(image) for image in shown]
    count, boxes = sum(int(w.sum()) for w in whole), sum(len(i.boxes) for i in shown)
    if count >= max(3, 0.05 * boxes):
        yield Sign(
            f"{count} of {boxes} boxes cover their whole image: are they placeholders of a classification?",
            tuple(i for i, w in zip(shown, whole, strict=True) if w.any())[:2],
        )


def _covers(image: SeenImage) -> Array:
    height, width = image.size
    return np.asarray(image.boxes[:, 2] * image.boxes[:, 3] >= WHOLE_IMAGE * height * width)


def _tiny(used: Sequence[SeenImage]) -> Iterator[Sign]:
    shown = [(i, tiny_boxes(i)) for i in used if len(i.boxes)]
    count, boxes = sum(int(t.sum()) for _, t in shown), sum(len(t) for _, t in shown)
    if count and count >= MANY_TINY * boxes:
        some = sorted(shown, key=lambda pair: -float(pair[1].mean()))
        yield Sign(
            f"{count} of {boxes} boxes are less than 8 pixels wide or high at the size shown here; a model "
            "hardly sees them: a larger `model.image_size` may pay, or tiles",
            tuple(i for i, _ in some[:2]),
        )


def _turned(used: Sequence[SeenImage]) -> Iterator[Sign]:
    turned = [i for i in used if i.evidence is not None and i.evidence.orientation != 1]
    if turned:
        kinds = Counter(i.evidence.orientation for i in turned if i.evidence is not None)
        kinds_text = ", ".join(f"{n} × orientation {kind}" for kind, n in sorted(kinds.items()))
        yield Sign(
            f"{plural(len(turned), 'image')} {'has' if len(turned) == 1 else 'have'} an EXIF orientation "
            f"({kinds_text}) and {'is' if len(turned) == 1 else 'are'} turned upright, with the "
            "annotations; look whether these lie on the objects",
            tuple(turned[:3]),
        )


def _ignored(used: Sequence[SeenImage]) -> Iterator[Sign]:
    masks = [i for i in used if len(i.pixels)]
    share = [float(i.pixels[-1] / max(1, i.pixels.sum())) for i in masks]
    if masks and max(share) > 0.5:
        much = [i for i, s in zip(masks, share, strict=True) if s > 0.5]
        yield Sign(
            f"{plural(len(much), 'mask')} {'has' if len(much) == 1 else 'have'} more ignored pixels than "
            "others",
            tuple(much[:2]),
        )


def _noticed(images: Sequence[SeenImage]) -> Iterator[Sign]:
    """What readers noticed as they read the images, but for what preparation warns of already."""
    tallies = {id(image.part.part.tally): image.part.part.tally for image in images}
    for tally in tallies.values():
        for what, names in tally.names().items():
            if what in (ASSUMED, FALLING):
                continue
            shown = set(names[:2])
            yield Sign(
                f"{what}: {plural(len(names), 'image')} ({few(names)})",
                tuple(image for image in images if image.name in shown and image.part.part.tally is tally),
            )
