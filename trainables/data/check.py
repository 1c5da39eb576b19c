"""Loads, checks and resizes one image; `prepare_data` does this for each image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from PIL import Image

from trainables.data.evidence import Claims, Evidence, evidence_of
from trainables.data.faults import SLACK, Action, Fault, Finding
from trainables.data.files.mask_pixels import IGNORE
from trainables.data.files.object_masks import resized_code, with_masks
from trainables.data.files.pixels import resized
from trainables.data.resize import Interpolation
from trainables.data.sample import Annotations, Array, Sample
from trainables.specs.data import Split
from trainables.specs.workload import Task

CONTRADICTION = "does not agree with its own area or polygon"


class SizeRule(Protocol):
    """How an image is resized, such as `trainables.data.resize.Resize`."""

    @property
    def interpolation(self) -> Interpolation:
        """How new pixels are computed."""
        ...

    def target(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) after resizing an image of `height` by `width` pixels."""
        ...


@dataclass(frozen=True)
class StoredImage:
    """An image as it will be stored."""

    name: str
    planes: bytes
    mask: bytes | None
    size: tuple[int, int]
    original: tuple[int, int]
    found: Annotations
    objects: tuple[bytes, ...] = ()
    """Each object's mask at the stored size in run-length encoding, if the task needs them."""


@dataclass(frozen=True)
class Checked:
    """The result of a check: the image's row, or None, and all errors found."""

    row: StoredImage | None
    findings: list[Finding]
    evidence: Evidence | None = None


def check_image(
    sample: Sample,
    *,
    split: Split,
    classes: Sequence[str],
    task: Task,
    size: SizeRule,
    background: int = 0,
    keep_empty: bool = False,
    single: bool = False,
) -> Checked:
    """Load, check and resize one image; None with a finding if the image is dropped.

    background: the class index of pixels that show no object.
    keep_empty: a mask with only background is a negative example, not an error. A mask in which
    every pixel is ignored is always an error: nothing can be learned from it.
    single: round boxes to single precision, as experiments did that began before version 3 of the format.
    """

    def gone(fault: Fault, detail: object) -> Checked:
        return Checked(None, [Finding(split, sample.name, fault, Action.IMAGE_DROPPED, str(detail))])

    try:
        photo = sample.photo()
        image = photo.image
        found = sample.annotations(photo) if task.facts.boxes else Annotations.none()
    except FileNotFoundError as error:
        return gone(Fault.MISSING_FILE, error)
    except MemoryError:
        raise
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, struct.error …
        return gone(Fault.UNREADABLE_IMAGE, error)
    height, width = image.height, image.width
    target = size.target(height, width)
    findings: list[Finding] = []
    mask, claims = None, None
    if task.facts.boxes:
        claims = Claims(found)
        findings += [
            Finding(split, sample.name, Fault.BAD_BOX, Action.KEPT, f"box {i} {CONTRADICTION}")
            for i in np.flatnonzero(claims.contradictions()).tolist()
        ]
        if task.facts.instances:
            try:
                found, unknown = with_masks(found, photo)
            except ValueError as error:
                return gone(Fault.BAD_MASK, error)
            findings += [Finding(split, sample.name, Fault.BAD_MASK, Action.BOX_DROPPED, d) for d in unknown]
        found = (found.rounded() if single else found).with_areas()
        found, wrong = valid_boxes(found, height=height, width=width, classes=classes)
        found = found.rounded() if single else found
        findings += [Finding(split, sample.name, Fault.BAD_BOX, action, detail) for action, detail in wrong]
    if task.facts.masks:
        try:
            mask = sample.mask(photo)
        except FileNotFoundError as error:
            return gone(Fault.MISSING_FILE, error)
        except MemoryError:
            raise
        except Exception as error:
            return gone(Fault.BAD_MASK, error)
        if mask is None or mask.shape != (height, width):
            shape = "no mask" if mask is None else f"a mask of {mask.shape[1]}×{mask.shape[0]}"
            return gone(Fault.BAD_MASK, f"{shape} pixels for an image of {width}×{height}")
        if (mask == IGNORE).all():
            return gone(Fault.EMPTY_MASK, "it holds nothing but ignored pixels")
        if not keep_empty and not ((mask != background) & (mask != IGNORE)).any():
            return gone(Fault.EMPTY_MASK, f"it holds nothing but {classes[background]}")
    planes = resized(image, target, size.interpolation).transpose(2, 0, 1).tobytes()
    objects = tuple(resized_code(code, (height, width), target) for code in found.masks)
    row = StoredImage(sample.name, planes, _nearest(mask, target), target, (height, width), found, objects)
    return Checked(row, findings, evidence_of(photo, planes, claims, mask))


def _nearest(mask: Array | None, target: tuple[int, int]) -> bytes | None:
    if mask is None:
        return None
    if mask.shape != target:
        mask = np.asarray(Image.fromarray(mask).resize((target[1], target[0]), Image.Resampling.NEAREST))
    return mask.tobytes()


def valid_boxes(
    found: Annotations, *, height: int, width: int, classes: Sequence[str]
) -> tuple[Annotations, list[tuple[Action, str]]]:
    """The boxes that can be learned from, and the errors of the others.

    A box of an unknown class, without an extent, or completely outside the image is dropped. A box that
    extends beyond the border by more than a pixel is cut to the image, and also listed.
    """
    faults: list[tuple[Action, str]] = []
    boxes = found.boxes.copy()
    keep = np.ones(len(boxes), bool)
    for i, (x, y, w, h) in enumerate(found.boxes.tolist()):
        label = int(found.labels[i])
        what = f"box {i} [{x:g}, {y:g}, {w:g}, {h:g}]"
        left, top, right, bottom = max(x, 0.0), max(y, 0.0), min(x + w, width), min(y + h, height)
        if not np.isfinite((x, y, w, h)).all():
            faults.append((Action.BOX_DROPPED, f"box {i} is not four numbers"))
        elif not 0 <= label < len(classes):
            faults.append((Action.BOX_DROPPED, f"{what} has a category that is not declared"))
        elif w <= 0 or h <= 0:
            faults.append((Action.BOX_DROPPED, f"{what} has no extent"))
        elif right <= left or bottom <= top:
            faults.append((Action.BOX_DROPPED, f"{what} lies outside the image of {width}×{height} pixels"))
        else:
            if min(x, y) < -SLACK or x + w > width + SLACK or y + h > height + SLACK:
                faults.append((Action.BOX_CUT, f"{what} passes the border of {width}×{height} pixels"))
                boxes[i] = left, top, right - left, bottom - top
            continue
        keep[i] = False
    return replace(found, boxes=boxes).only(keep), faults
