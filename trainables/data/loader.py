"""Batches of prepared data: pure functions of (seed, epoch, index), with no state to save.

Images stay uint8; they are normalised on the device.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import overload

import numpy as np
import torch

from trainables.data.augment import ChangedTargets, augment_image, augment_targets
from trainables.data.balance import drawn_order, is_balanced
from trainables.data.files.mask_pixels import IGNORE
from trainables.data.prepared import Array, PreparedSplit
from trainables.specs.trial import Augment, SamplingSpec

NOTHING = Augment()
"""No augmentation."""
EACH_ONCE = SamplingSpec()
"""Every image once in an epoch."""


@dataclass(frozen=True)
class Batch:
    """Images and their targets.

    images: (B, 3, H, W) uint8, smaller ones padded at the bottom and right with zeros; on the device `meta`,
    as a shape without pixels, if the model continues from `hidden`.
    valid: (height, width) of each image without its padding.
    targets: per image `class_labels` (n,) int64 and `boxes` (n, 4) float32, cxcywh as shares of
    the padded image, crowds left out, and for tasks with instances `masks` (n, H, W) bool; None for
    segmentation.
    masks: (B, H, W) uint8 class indices, 255 for ignored pixels and padding; None for detection.
    indices: the images' indices in their split.
    hidden: (B, tokens, width), what an early part of the model has computed of these images; see
    `trainables.features`. None where the model begins with the images.
    """

    images: torch.Tensor
    valid: list[tuple[int, int]]
    targets: list[dict[str, torch.Tensor]] | None
    masks: torch.Tensor | None
    indices: list[int]
    hidden: torch.Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        """The batch on `device`; images without pixels stay as they are."""
        there = self.images if self.hidden is None else self.hidden
        if there.device == device:
            return self
        targets = self.targets
        if targets is not None:
            targets = [{k: v.to(device, non_blocking=True) for k, v in t.items()} for t in targets]
        return Batch(
            images=self.images if self.images.is_meta else self.images.to(device, non_blocking=True),
            valid=self.valid,
            targets=targets,
            masks=None if self.masks is None else self.masks.to(device, non_blocking=True),
            indices=self.indices,
            hidden=None if self.hidden is None else self.hidden.to(device, non_blocking=True),
        )

    def take(self, places: list[int]) -> Batch:
        """The images at these places, each as often as it is named."""
        return Batch(
            images=self.images[places],
            valid=[self.valid[place] for place in places],
            targets=None if self.targets is None else [self.targets[place] for place in places],
            masks=None if self.masks is None else self.masks[places],
            indices=[self.indices[place] for place in places],
            hidden=None if self.hidden is None else self.hidden[places],
        )

    def pieces(self, size: int) -> Iterator[Batch]:
        """The batch in pieces of at most `size` images, all with the padding of the whole batch."""
        if size >= len(self.indices):
            yield self
            return
        for start in range(0, len(self.indices), size):
            part = slice(start, start + size)
            yield Batch(
                images=self.images[part],
                valid=self.valid[part],
                targets=None if self.targets is None else self.targets[part],
                masks=None if self.masks is None else self.masks[part],
                indices=self.indices[part],
                hidden=None if self.hidden is None else self.hidden[part],
            )


@dataclass(frozen=True)
class Batches(Sequence[Batch]):
    """All batches of one pass over a split; the last may be smaller. `[i]` depends on `i` only."""

    split: PreparedSplit
    batch_size: int
    epoch: int = 0
    seed: int | None = None
    """None keeps the stored order and augments nothing."""
    augment: Augment = NOTHING
    sampling: SamplingSpec = EACH_ONCE

    def __len__(self) -> int:
        """Number of batches."""
        return -(-len(self.split) // self.batch_size)

    @overload
    def __getitem__(self, i: int) -> Batch: ...
    @overload
    def __getitem__(self, i: slice) -> list[Batch]: ...
    def __getitem__(self, i: int | slice) -> Batch | list[Batch]:
        """Batch `i`, or the batches of a slice."""
        if isinstance(i, slice):
            return [self[j] for j in range(*i.indices(len(self)))]
        if self.split.batch_source is not None:
            served: Batch = self.split.batch_source(self, i)
            return served
        return self.with_images(i)

    def with_images(self, i: int) -> Batch:
        """Batch `i`, made from the images."""
        indices = self.indices(i)
        if not self.augments:
            return _assemble(self.split, indices)
        return _augmented(self.split, indices, self.augment, self._key)

    def without_images(self, i: int) -> Batch:
        """Batch `i` with the shape of its images instead of their pixels, for a split of one image size."""
        indices = self.indices(i)
        if not self.augments:
            return _assemble(self.split, indices, pixels=False)
        return _augmented(self.split, indices, self.augment, self._key, pixels=False)

    def indices(self, i: int) -> list[int]:
        """The indices of the images in batch `i`."""
        place = i + len(self) if i < 0 else i
        if not 0 <= place < len(self):
            raise IndexError(f"batch {i} of {len(self)}")
        first, last = place * self.batch_size, min((place + 1) * self.batch_size, len(self.split))
        if self.seed is None:
            return list(range(first, last))
        if is_balanced(self.sampling):
            order = drawn_order(self.split, self.sampling, seed=self.seed, epoch=self.epoch)
        else:
            order = _order(len(self.split), self.seed, self.epoch)
        indices: list[int] = order[first:last].tolist()
        return indices

    @property
    def augments(self) -> bool:
        """Whether images are changed."""
        return self.seed is not None and self.augment.changes_images

    @property
    def _key(self) -> tuple[int, int]:
        """The seed, and the number of the images' version."""
        assert self.seed is not None
        return self.seed, self.augment.version(self.epoch)


def train_batches(
    split: PreparedSplit,
    *,
    epoch: int,
    seed: int,
    batch_size: int,
    augment: Augment,
    sampling: SamplingSpec = EACH_ONCE,
) -> Batches:
    """The shuffled, augmented batches of one epoch, of as many images as the split has."""
    return Batches(split, batch_size, epoch=epoch, seed=seed, augment=augment, sampling=sampling)


def eval_batches(split: PreparedSplit, *, batch_size: int) -> Batches:
    """All images in their stored order."""
    return Batches(split, batch_size)


def batch_of(split: PreparedSplit, indices: list[int]) -> Batch:
    """These images as stored, without augmentation."""
    return _assemble(split, indices)


@lru_cache(maxsize=16)
def _order(count: int, seed: int, epoch: int) -> Array:
    # A seed sequence ends in implied zeros, so a number above 0 distinguishes the streams.
    return np.random.default_rng([seed, epoch, 0]).permutation(count)


def _image_rng(seed: int, epoch: int, index: int) -> np.random.Generator:
    return np.random.default_rng([seed, epoch, 1 + index])


def _assemble(split: PreparedSplit, indices: list[int], *, pixels: bool = True) -> Batch:
    """A batch as stored; a single copy of the images if they all have one size."""
    images = split.stacked(indices) if pixels else None
    masks: Array | None = None
    if pixels and images is None:
        images = _padded([split.planes(i) for i in indices], 0)
    if split.has_masks:
        masks = split.stacked_masks(indices)
        if masks is None:
            masks = _padded([split.mask(i) for i in indices], IGNORE)
    boxes = [_boxes(split, i) for i in indices] if split.has_boxes else None
    objects = [split.object_masks(i) for i in indices] if split.has_instances else None
    return _batch(split, images, masks, boxes, indices, objects)


def _augmented(
    split: PreparedSplit, indices: list[int], spec: Augment, key: tuple[int, int], *, pixels: bool = True
) -> Batch:
    images, masks, boxes, objects = [], [], [], []
    for i in indices:
        corners, labels = _boxes(split, i) if split.has_boxes else (None, None)
        mask = split.mask(i) if split.has_masks else None
        own = split.object_masks(i) if split.has_instances else None
        rng = _image_rng(*key, i)
        changed: ChangedTargets
        if pixels:
            changed = augmented = augment_image(split.planes(i), corners, mask, spec, rng, own)
            images.append(augmented.image)
        else:
            height, width = split.sizes[i].tolist()
            changed = augment_targets((height, width), corners, mask, spec, rng, own)
        if changed.mask is not None:
            masks.append(changed.mask)
        if changed.objects is not None:
            objects.append(changed.objects)
        if changed.boxes is not None and labels is not None:
            boxes.append((changed.boxes, labels[changed.kept]))
    return _batch(
        split,
        _padded(images, 0) if pixels else None,
        _padded(masks, IGNORE) if split.has_masks else None,
        boxes if split.has_boxes else None,
        indices,
        objects if split.has_instances else None,
    )


def _boxes(split: PreparedSplit, i: int) -> tuple[Array, Array]:
    """Boxes to train on as xyxy in stored pixels, and their labels."""
    starts, corners, labels = split.trainable
    return corners[starts[i] : starts[i + 1]], labels[starts[i] : starts[i + 1]]


def _batch(
    split: PreparedSplit,
    images: Array | None,
    masks: Array | None,
    boxes: list[tuple[Array, Array]] | None,
    indices: list[int],
    objects: list[Array] | None,
) -> Batch:
    if images is None:
        height, width = split.sizes[indices[0]].tolist()
        shown = torch.empty((len(indices), 3, height, width), dtype=torch.uint8, device="meta")
    else:
        shown = torch.from_numpy(images)
    return Batch(
        images=shown,
        valid=[(h, w) for h, w in split.sizes[indices].tolist()],
        targets=None if boxes is None else _targets(boxes, objects, *shown.shape[2:]),
        masks=None if masks is None else torch.from_numpy(masks),
        indices=indices,
    )


def _targets(
    boxes: list[tuple[Array, Array]], objects: list[Array] | None, height: int, width: int
) -> list[dict[str, torch.Tensor]]:
    """Convert xyxy in pixels to cxcywh as shares of a padded image, for all images' boxes at once."""
    corners = np.concatenate([c for c, _ in boxes])
    size = np.array([width, height], np.float32)
    shares = np.empty((len(corners), 4), np.float32)
    shares[:, :2] = (corners[:, :2] + corners[:, 2:]) / (2 * size)
    shares[:, 2:] = (corners[:, 2:] - corners[:, :2]) / size
    counts = [len(c) for c, _ in boxes]
    labels = torch.from_numpy(np.concatenate([names for _, names in boxes]))
    found = [
        {"class_labels": names, "boxes": places}
        for names, places in zip(
            torch.split(labels, counts), torch.split(torch.from_numpy(shares), counts), strict=True
        )
    ]
    for target, own in zip(found, objects or (), strict=False):
        whole = np.zeros((len(own), height, width), bool)
        whole[:, : own.shape[1], : own.shape[2]] = own
        target["masks"] = torch.from_numpy(whole)
    return found


def _padded(arrays: list[Array], fill: int) -> Array:
    """Pad arrays of (…, h, w) into one (B, …, H, W), each at the top left."""
    sizes = [a.shape[-2:] for a in arrays]
    height, width = max(h for h, _ in sizes), max(w for _, w in sizes)
    shape = (len(arrays), *arrays[0].shape[:-2], height, width)
    out = np.empty(shape, np.uint8) if len(set(sizes)) == 1 else np.full(shape, fill, np.uint8)
    for place, array in enumerate(arrays):
        out[place, ..., : array.shape[-2], : array.shape[-1]] = array
    return out
