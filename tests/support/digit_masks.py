"""Scenes of digits as folders of images and masks, for tests of data that an adapter was not trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def write_masks(root: Path, classes: str, order: tuple[int, ...]) -> Path:
    """The clean scenes of `trained_runs.DATA` as image and mask folders, mask values numbered by `order`."""
    from trainables.data.digits import DigitSample
    from trainables.specs.data import Domain, EmbeddedData, Split

    spec = EmbeddedData(domain=Domain.CLEAN, train=16, validation=4, test=4)
    lines = ["data:", "  masks:"]
    for split, count in ((Split.TRAIN, 4), (Split.VALIDATION, 2), (Split.TEST, 4)):
        (root / split / "images").mkdir(parents=True)
        (root / split / "masks").mkdir()
        for index in range(count):
            sample = DigitSample(spec, split, index)
            sample.photo().image.save(root / split / "images" / f"{index}.png")
            mask = np.array(order, np.uint8)[np.asarray(sample.mask())]
            Image.fromarray(mask).save(root / split / "masks" / f"{index}.png")
        lines.append(f"    {split}: {{images: {split}/images, masks: {split}/masks}}")
    path = root / "data.yaml"
    path.write_text("\n".join([*lines, f"    classes: [{classes}]\n"]))
    return path


DIGITS = ["background", *map(str, range(10))]
