"""Pictures of the chosen images at the size that the model sees, with their boxes or masks, and one sheet."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from trainables.data.check import SizeRule
from trainables.data.faults import SLACK
from trainables.data.files.mask_pixels import IGNORE
from trainables.data.files.object_masks import decode, resized_code, with_masks
from trainables.data.files.pixels import resized
from trainables.data.sample import Annotations, Sample
from trainables.inference.drawing import draw_boxes, draw_mask, draw_objects
from trainables.inspection.chosen import Chosen
from trainables.inspection.images import Array
from trainables.wording import printable

LONGEST_SIDE = 720
"""The longest side of a picture on the page, in pixels."""
TILE = 360
"""The width of a tile on the contact sheet, in pixels."""
COLUMNS = 4
MARGIN = 0.25
"""How much of the image's side is added where boxes pass the border, at most."""
GROUND = (120, 120, 120)
NARROWEST = 3
"""The longest side of a picture as a multiple of the other, at most; narrower ones get a ground."""
RED, ORANGE = (176, 0, 0), (176, 90, 0)
DARK = 32
"""The value of 255 below which a file's grey values are spread, as those of a mask of class numbers."""
WRONG = " (wrong)"
"""The sign at a box that is dropped or cut."""


@dataclass(frozen=True)
class Picture:
    """A drawn image. shows: what is drawn, in words.  why: its faults and signs; '' without any."""

    image: Image.Image
    title: str
    shows: str
    why: str
    faulty: bool


def draw_chosen(
    chosen: Sequence[Chosen],
    classes: Sequence[str],
    size: SizeRule,
    *,
    background: int | None = None,
    masks: bool = False,
    instances: bool = False,
) -> list[Picture]:
    """A picture of each image; of one that cannot be read, its files or the reason.

    classes: those of the inspection.  background: the one of pixels without an object.  masks: whether images
    have masks instead of boxes.  instances: whether boxes have masks.
    """
    return [_drawn(each, classes, size, background, masks, instances) for each in chosen]


def contact_sheet(pictures: Sequence[Picture], title: str) -> Image.Image:
    """All pictures on one sheet, each with its title; faulty ones have a red frame, signs an orange one."""
    font, large = ImageFont.load_default(size=14), ImageFont.load_default(size=20)
    columns = min(COLUMNS, max(1, len(pictures)))
    gap, head, text = 12, 44, 44
    tiles = [_fitted(p.image, TILE) for p in pictures]
    rows = [tiles[start : start + columns] for start in range(0, len(tiles), columns)]
    heights = [max(tile.height for tile in row) + text + gap for row in rows]
    sheet = Image.new("RGB", (columns * (TILE + gap) + gap, head + sum(heights) + gap), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((gap, 12), _cut(title, large, sheet.width - 2 * gap), fill="black", font=large)
    top = head
    for number, tile in enumerate(tiles):
        row, column = divmod(number, columns)
        left, above = gap + column * (TILE + gap), top + sum(heights[:row])
        picture = pictures[number]
        sheet.paste(tile, (left, above))
        if picture.why:
            frame = [left - 3, above - 3, left + tile.width + 2, above + tile.height + 2]
            draw.rectangle(frame, outline=RED if picture.faulty else ORANGE, width=3)
        below = above + tile.height + 4
        draw.text((left, below), _cut(picture.title, font, TILE), fill="black", font=font)
        if picture.why:
            colour = RED if picture.faulty else ORANGE
            draw.text((left, below + 18), _cut(picture.why, font, TILE), fill=colour, font=font)
    return sheet


# --- one picture --------------------------------------------------------------------------------


def _drawn(
    chosen: Chosen,
    classes: Sequence[str],
    size: SizeRule,
    background: int | None,
    masks: bool,
    instances: bool,
) -> Picture:
    image, why = chosen.image, "; ".join(chosen.why)
    title = f"{image.label} {image.name}"
    try:
        photo = image.sample.photo()
        height, width = photo.upright
        target = size.target(height, width)
        seen = Image.fromarray(resized(photo.image, target, size.interpolation))
        sizes = f"{width}×{height}" + (
            "" if target == (height, width) else f", seen as {target[1]}×{target[0]}"
        )
        own = image.part.source.classes
        if masks:
            mask = image.sample.mask(photo)
            if mask is None or mask.shape != (height, width):
                raise ValueError("the mask has another size than the image")
            picture, shows = _masked(seen, mask, target, own, background, classes)
        else:
            found = image.sample.annotations(photo)
            names = [own[n] if 0 <= n < len(own) else "?" for n in found.labels.tolist()]
            if instances:
                known, _ = with_masks(found, photo)
                codes = [resized_code(code, photo.upright, target) for code in known.masks]
                labels = [classes.index(own[n]) if 0 <= n < len(own) else -1 for n in known.labels.tolist()]
                seen = draw_objects(seen, [decode(code, target) for code in codes], labels)
            picture, shows = _boxed(seen, found, names, classes, (height, width))
        return Picture(_shrunk(picture), title, f"{shows}; {sizes}", why, chosen.faulty)
    except MemoryError:
        raise
    except Exception as error:  # of any decoder; it is among the findings
        return _unread(chosen, title, str(error))


def _boxed(
    seen: Image.Image, found: Annotations, names: Sequence[str], classes: Sequence[str], size: tuple[int, int]
) -> tuple[Image.Image, str]:
    """Boxes as they were read, also those that are dropped or cut, on a ground that shows those outside."""
    readable = np.isfinite(found.boxes).all(axis=1)
    scale = np.array([seen.width / size[1], seen.height / size[0]] * 2)
    boxes = np.clip(found.boxes[readable], -1e6, 1e6) * scale
    wrong = _wrong(found, size)[readable]
    numbers = [classes.index(n) if n in classes else len(classes) for n in np.array(names)[readable].tolist()]
    crowds = found.crowds[readable].tolist()
    texts = [
        names_of + (" (crowd)" if crowd else "") + (WRONG if bad else "")
        for names_of, crowd, bad in zip(
            np.array(names)[readable].tolist(), crowds, wrong.tolist(), strict=True
        )
    ]
    # A box of negative extent is drawn between the same corners, one without extent as a point.
    boxes[:, :2] += np.minimum(boxes[:, 2:], 0)
    boxes[:, 2:] = np.maximum(np.abs(boxes[:, 2:]), 1)
    ground, shift = _with_margin(seen, boxes)
    boxes = boxes + np.array([*shift, 0, 0])
    drawn = draw_boxes(ground, boxes.tolist(), numbers, texts)
    unread = int((~readable).sum())
    shows = f"{len(boxes)} {'box' if len(boxes) == 1 else 'boxes'}"
    if names:
        kinds = sorted(set(names))
        shows += f" of {', '.join(kinds[:6])}" + (" …" if len(kinds) > 6 else "")
    shows += f", {int(wrong.sum())} of them wrong" if wrong.any() else ""
    return drawn, shows + (f", and {unread} without four numbers" if unread else "")


def _wrong(found: Annotations, size: tuple[int, int]) -> Array:
    """(n,) bool: boxes without an extent, without a class, or that pass the border."""
    ends = found.boxes[:, :2] + found.boxes[:, 2:]
    with np.errstate(invalid="ignore"):
        outside = (found.boxes[:, :2] < -SLACK).any(axis=1) | (ends > np.array(size[::-1]) + SLACK).any(
            axis=1
        )
        return np.asarray(outside | (found.boxes[:, 2:] <= 0).any(axis=1) | (found.labels < 0))


def _with_margin(seen: Image.Image, boxes: Array) -> tuple[Image.Image, tuple[int, int]]:
    """The image on a larger ground if boxes pass its border, and where it lies there."""
    if not len(boxes):
        return seen, (0, 0)
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    limits = MARGIN * np.array(seen.size)
    before = np.clip(-corners[:, :2].min(axis=0), 0, limits).round().astype(int)
    after = np.clip(corners[:, 2:].max(axis=0) - np.array(seen.size), 0, limits).round().astype(int)
    if not (before.any() or after.any()):
        return seen, (0, 0)
    ground = Image.new("RGB", tuple((np.array(seen.size) + before + after).tolist()), GROUND)
    ground.paste(seen, (int(before[0]), int(before[1])))
    return ground, (int(before[0]), int(before[1]))


def _masked(
    seen: Image.Image,
    mask: Array,
    target: tuple[int, int],
    own: Sequence[str],
    background: int | None,
    classes: Sequence[str],
) -> tuple[Image.Image, str]:
    small = np.asarray(Image.fromarray(mask).resize(target[::-1], Image.Resampling.NEAREST))
    # `draw_mask` leaves the first class out: the background, or nothing if there is none.
    order = [*((background,) if background is not None else (-1,))]
    order += [i for i in range(len(classes)) if i != background]
    names = ["(none)" if i < 0 else classes[i] for i in order] + ["ignored"]
    place = np.zeros(256, np.uint8)
    for number, name in enumerate(own):
        place[number] = order.index(classes.index(name))
    place[IGNORE] = len(names) - 1
    shown = place[small]
    parts = [100 * float((shown == i).mean()) for i in range(len(names))]
    present = [f"{name} {part:.1f} %" for name, part in zip(names, parts, strict=True) if part > 0]
    # The colon keeps a name that ends in a number apart from its share.
    legend = [f"{name}: {part:.1f} %" for name, part in zip(names, parts, strict=True)]
    return draw_mask(seen, shown, names, legend), "mask of " + ", ".join(present)


def _unread(chosen: Chosen, title: str, reason: str) -> Picture:
    """The files side by side, as far as they can be opened, and otherwise a tile with the reason."""
    why = "; ".join(chosen.why) or reason
    opened: list[Image.Image] = []
    for file in getattr(chosen.image.sample, "files", ()):
        with suppress(Exception), Image.open(file) as picture:  # any error of a decoder
            opened.append(_bright(picture))
    sizes = ", ".join(f"{i.width}×{i.height}" for i in opened)
    shows = f"the file as it is ({sizes})" if opened else "no picture, as the image cannot be read"
    if opened:
        half = LONGEST_SIDE // len(opened)
        shown = _shrunk(_side_by_side([_fitted(i, half, enlarge=True) for i in opened]))
    else:
        shown = _said(why, _declared_boxes(chosen.image.sample))
    return Picture(shown, title, shows, why, True)


def _declared_boxes(sample: Sample) -> str:
    """How many boxes are annotated for an image that is not there, in words."""
    found: Any = getattr(sample, "found", None)
    return f"{len(found.boxes)} annotated boxes" if isinstance(found, Annotations) else ""


def _bright(picture: Image.Image) -> Image.Image:
    """A file's pixels for a viewer: deep or dark grey values are spread over the whole range."""
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16") or _is_dark(picture):
        values = np.asarray(picture, np.float64)
        low, high = float(values.min()), float(values.max())
        return Image.fromarray(((values - low) * (255 / max(high - low, 1e-9))).astype(np.uint8)).convert(
            "RGB"
        )
    return picture.convert("RGB")


def _is_dark(picture: Image.Image) -> bool:
    """Whether it is a mask of small class numbers, which a viewer shows as black."""
    return picture.mode == "L" and int(np.asarray(picture).max(initial=0)) < DARK


def _side_by_side(images: Sequence[Image.Image]) -> Image.Image:
    whole = Image.new(
        "RGB", (sum(i.width for i in images) + 8 * (len(images) - 1), max(i.height for i in images))
    )
    whole.paste("white", (0, 0, *whole.size))
    left = 0
    for image in images:
        whole.paste(image, (left, 0))
        left += image.width + 8
    return whole


def _said(reason: str, more: str) -> Image.Image:
    tile = Image.new("RGB", (512, 384), (235, 235, 235))
    draw, font = ImageDraw.Draw(tile), ImageFont.load_default(size=17)
    lines = _wrapped(reason, font, 480)[:14] + ([more] if more else [])
    draw.multiline_text((16, 16), "\n".join(lines), fill=(150, 0, 0), font=font, spacing=6)
    return tile


def _wrapped(text: str, font: Any, width: int) -> list[str]:
    lines, line = [], ""
    for word in printable(text).split():
        while font.getlength(word) > width:
            line, word = f"{line} {word[:30]}".strip(), word[30:]
            lines.append(line)
            line = ""
        if font.getlength(f"{line} {word}") > width and line:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".strip()
    return [*lines, line]


def _shrunk(picture: Image.Image) -> Image.Image:
    """At most `LONGEST_SIDE` long, and not so narrow that a page as wide as it would have no end."""
    fitted = _fitted(picture, LONGEST_SIDE)
    least = round(max(fitted.size) / NARROWEST)
    if min(fitted.size) >= least:
        return fitted
    ground = Image.new("RGB", (max(fitted.width, least), max(fitted.height, least)), GROUND)
    ground.paste(fitted, ((ground.width - fitted.width) // 2, (ground.height - fitted.height) // 2))
    return ground


def _fitted(image: Image.Image, longest: int, *, enlarge: bool = False) -> Image.Image:
    factor = longest / max(image.size)
    if factor >= 1 and not enlarge:
        return image
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    return image.resize(size, Image.Resampling.NEAREST if factor > 1 else Image.Resampling.LANCZOS)


def _cut(text: str, font: Any, width: int) -> str:
    """The text in one line, shortened to the width in pixels."""
    text = " ".join(printable(text).split("\n"))
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"
