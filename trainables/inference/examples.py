"""Draws the truth and a scored trial's prediction for a few test images, as pictures for people.

Every trial of an experiment has the same images, so that pictures can be compared.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from trainables.data.files.mask_pixels import IGNORE
from trainables.data.files.object_masks import decode, resized_code
from trainables.data.prepared import Array, PreparedSplit
from trainables.inference.drawing import draw_boxes, draw_objects
from trainables.inference.predict import Mask, predict_image
from trainables.inference.trained_model import TrainedModel
from trainables.run_folder import EXAMPLES

IMAGES = 3
"""The number of images from the data's own domain, and from each shifted domain."""
MOST_DOMAINS = 4
LONGEST_SIDE = 512
"""The longest side of each half in pixels: a picture takes about 100 kB at most."""
QUALITY = 90
HEADER = 24


def draw_examples(trained: TrainedModel, parts: Mapping[str | None, PreparedSplit], folder: Path) -> None:
    """Write JPEG files with truth (left) and prediction (right) to `folder`, and their list, `EXAMPLES`.


    parts: test images by domain, None for the data's own. Raises OSError, ModelError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    listed = []
    for domain, split in list(parts.items())[: MOST_DOMAINS + 1]:
        for number, place in enumerate(_spread(len(split))):
            image = Image.fromarray(np.ascontiguousarray(split.image(place)))
            seen = predict_image(trained, image)
            name = f"{'own' if domain is None else f'shifted-{domain}'}-{number}.jpg"
            picture = _beside(_truth(trained, split, place, image), seen.drawn(image))
            picture.save(folder / name, quality=QUALITY)
            entry = {"file": name, "domain": domain, "image": split.names[place], "seen": seen.summary()}
            listed.append(entry)
    (folder / EXAMPLES).write_text(json.dumps(listed, indent=1), encoding="utf-8")


def _spread(images: int) -> list[int]:
    """Indices that are evenly spread over a split."""
    return (
        [round((number + 0.5) * images / IMAGES - 0.5) for number in range(IMAGES)]
        if images > IMAGES
        else list(range(images))
    )


def _truth(trained: TrainedModel, split: PreparedSplit, place: int, image: Image.Image) -> Image.Image:
    if split.has_masks:
        mask: Array = split.mask(place)
        return Mask(trained.classes, np.where(mask == IGNORE, 0, mask)).drawn(image)
    truth = split.truth(place)
    if truth.masks is not None:
        size = (truth.height, truth.width)
        masks = [
            decode(resized_code(c, size, (image.height, image.width)), (image.height, image.width))
            for c in truth.masks
        ]
        image = draw_objects(image, masks, [int(label) for label in truth.labels])
    scale = np.array([image.width / truth.width, image.height / truth.height] * 2)
    labels = [int(label) for label in truth.labels]
    texts = [
        trained.classes[label] + (" (crowd)" if crowd else "")
        for label, crowd in zip(labels, truth.crowds, strict=True)
    ]
    return draw_boxes(image, (truth.boxes * scale).tolist(), labels, texts)


def _beside(truth: Image.Image, seen: Image.Image) -> Image.Image:
    halves = [truth.convert("RGB"), seen.convert("RGB")]
    for half in halves:
        half.thumbnail((LONGEST_SIDE, LONGEST_SIDE * 2))
    gap = 8
    width = halves[0].width + gap + halves[1].width
    whole = Image.new("RGB", (width, HEADER + max(half.height for half in halves)), "white")
    draw, font = ImageDraw.Draw(whole), ImageFont.load_default(size=15)
    left = 0
    for half, title in zip(halves, ("truth", "prediction"), strict=True):
        draw.text((left + 4, 3), title, fill="black", font=font)
        whole.paste(half, (left, HEADER))
        left += half.width + gap
    return whole
