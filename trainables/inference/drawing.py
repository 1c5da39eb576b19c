"""Draws boxes and masks on an image.

The colours are those of Okabe and Ito, which colour-blind readers can distinguish; text explains each colour.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Array = np.ndarray[Any, np.dtype[Any]]
Colour = tuple[int, int, int]

PALETTE: tuple[Colour, ...] = (
    (230, 159, 0),  # orange
    (86, 180, 233),  # sky blue
    (0, 158, 115),  # bluish green
    (240, 228, 66),  # yellow
    (0, 114, 178),  # blue
    (213, 94, 0),  # vermilion
    (204, 121, 167),  # reddish purple
)
"""The colours without black, which is invisible on a dark image."""
LEAST_SIDE = 512
"""The smallest side in pixels; smaller images are enlarged, so that text is readable."""
OPACITY = 0.4
"""The opacity of a mask's area; its outline is solid."""


def class_colour(index: int) -> Colour:
    """A class's colour: the palette, then lighter and darker shades of it; colours repeat after 21."""
    colour, shade = PALETTE[index % len(PALETTE)], index // len(PALETTE) % 3
    if shade == 0:
        return colour
    towards = 255 if shade == 1 else 0
    red, green, blue = (round(0.5 * value + 0.5 * towards) for value in colour)
    return red, green, blue


def draw_boxes(
    image: Image.Image, boxes: Sequence[Sequence[float]], labels: Sequence[int], texts: Sequence[str]
) -> Image.Image:
    """A copy of the image with boxes (xywh, in its pixels), the last on top, each in its class's colour."""
    picture, factor = _enlarged(image)
    draw, font = ImageDraw.Draw(picture), _font(picture)
    line = max(2, round(max(picture.size) / 300))
    corners = [
        [x * factor, y * factor, (x + width) * factor, (y + height) * factor] for x, y, width, height in boxes
    ]
    for rectangle, label in zip(corners, labels, strict=True):
        draw.rectangle(rectangle, outline=class_colour(label), width=line)
    # Text last, so that no box is drawn over it.
    for (left, top, _, _), label, text in zip(corners, labels, texts, strict=True):
        _tag(draw, font, (left, top), text, class_colour(label), picture.size)
    return picture


def draw_mask(image: Image.Image, mask: Array, names: Sequence[str], texts: Sequence[str]) -> Image.Image:
    """A copy of the image with an overlay of every class but the first, and a legend of those present.

    mask: (height, width) class indices at the image's size.  texts: the legend's text of each class.
    """
    picture, factor = _enlarged(image)
    large = np.repeat(np.repeat(mask, factor, axis=0), factor, axis=1)
    pixels = np.asarray(picture).astype(np.float32)
    colours = np.array([(0, 0, 0), *(class_colour(i) for i in range(len(names) - 1))], np.float32)[large]
    shown = large != 0
    pixels[shown] = (1 - OPACITY) * pixels[shown] + OPACITY * colours[shown]
    edge = _outline(large, max(1, round(max(picture.size) / 500))) & shown
    pixels[edge] = colours[edge]
    painted = Image.fromarray(pixels.round().astype(np.uint8))
    present = [index for index in range(1, len(names)) if (mask == index).any()]
    return _with_legend(painted, [(class_colour(index - 1), texts[index]) for index in present])


def draw_objects(image: Image.Image, masks: Sequence[Array], labels: Sequence[int]) -> Image.Image:
    """A copy of the image with an overlay and an outline of each mask in its class's colour, the last on top.

    masks: each (height, width) bool, the image's size.
    """
    pixels = np.asarray(image.convert("RGB")).astype(np.float32)
    width = max(1, round(max(image.size) / 500))
    for mask, label in zip(masks, labels, strict=True):
        colour = np.array(class_colour(label), np.float32)
        pixels[mask] = (1 - OPACITY) * pixels[mask] + OPACITY * colour
        pixels[_outline(mask, width) & mask] = colour
    return Image.fromarray(pixels.round().astype(np.uint8))


def _outline(mask: Array, width: int) -> Array:
    """Pixels within `width` of another class."""
    edge = np.zeros(mask.shape, bool)
    for shift in range(1, width + 1):
        down, right = mask[shift:] != mask[:-shift], mask[:, shift:] != mask[:, :-shift]
        edge[shift:] |= down
        edge[:-shift] |= down
        edge[:, shift:] |= right
        edge[:, :-shift] |= right
    return edge


def _with_legend(picture: Image.Image, entries: Sequence[tuple[Colour, str]]) -> Image.Image:
    """The picture with a line for each entry below it."""
    if not entries:
        return picture
    font = _font(picture)
    row = round(1.6 * font.size)
    whole = Image.new("RGB", (picture.width, picture.height + row * len(entries)), "white")
    whole.paste(picture, (0, 0))
    draw = ImageDraw.Draw(whole)
    for number, (colour, text) in enumerate(entries):
        top = picture.height + row * number
        draw.rectangle([6, top + 5, 6 + row - 10, top + row - 5], fill=colour, outline="black")
        draw.text((row + 4, top + row / 2), text, fill="black", font=font, anchor="lm")
    return whole


def _enlarged(image: Image.Image) -> tuple[Image.Image, int]:
    """A copy, enlarged by a whole number if it is small, and that number."""
    factor = max(1, -(-LEAST_SIDE // max(image.size)))
    size = (image.width * factor, image.height * factor)
    return image.convert("RGB").resize(size, Image.Resampling.NEAREST), factor


def _font(picture: Image.Image) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size=max(12, round(max(picture.size) / 45)))
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font


def _tag(
    draw: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont,
    at: tuple[float, float],
    text: str,
    colour: Colour,
    size: tuple[int, int],
) -> None:
    """Draw text on a coloured background above the point, moved if needed to stay inside the picture."""
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    width, height = right - left + 4, bottom - top + 4
    x = min(max(0.0, at[0]), max(0.0, size[0] - width))
    y = at[1] - height if at[1] >= height else max(0.0, at[1])
    y = min(y, max(0.0, size[1] - height))
    draw.rectangle([x, y, x + width, y + height], fill=colour)
    bright = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 140
    draw.text((x + 2 - left, y + 2 - top), text, fill="black" if bright else "white", font=font)
