"""The embedded data set: scenes of real handwritten digits, generated on the fly, in four domains.

The 1,797 digits of 8×8 pixels are scikit-learn's copy of the UCI optical digits test set.
A scene places one to three of them without overlap on a background. No digit is in two
splits, and a scene's layout depends on (seed, split, index) only, so that the same scene
can be drawn in every domain: domains differ in appearance, never in content.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from trainables.specs.data import Domain, Split

Array = np.ndarray[Any, np.dtype[Any]]

CLASSES = tuple(str(digit) for digit in range(10))
SHARE = {Split.TRAIN: 0.6, Split.VALIDATION: 0.2, Split.TEST: 0.2}
DRAWING = "b441c3a6b36233fc03cb8d7260220ccdc32f6ce16cd40aa5aa8aecdd0a9d0c7a"
"""The version of the drawing, a part of the fingerprint of prepared data.

Change it if and only if the drawing changes. The value is the SHA-256 that this file had when the
fingerprint was computed from the file itself, so that experiments recorded then can still be resumed.
"""
INK = 0.25
"""The coverage from which a pixel belongs to a digit's mask."""


@dataclass(frozen=True)
class Scene:
    """One drawn scene.

    image: (side, side, 3) uint8.  boxes: (n, 4) float32, absolute xywh, tight around the ink.
    labels: (n,) int64 in 0..9.  mask: (side, side) uint8, 0 background, digit d as d + 1.
    """

    image: Array
    boxes: Array
    labels: Array
    mask: Array


@cache
def _digits() -> tuple[Array, Array]:
    table = _table()
    images = table[:, :-1].reshape(-1, 8, 8)
    return (images / 16.0).astype(np.float32), table[:, -1].astype(np.int64)


def _table() -> Array:
    """(1797, 65): the 64 pixels of each digit, 0 to 16, and its class.

    Read from scikit-learn's file, because the import of its data sets takes a second at the start of a sweep.
    """
    sklearn = find_spec("sklearn")
    for folder in (sklearn.submodule_search_locations or ()) if sklearn is not None else ():
        file = Path(folder) / "datasets" / "data" / "digits.csv.gz"
        if file.is_file():
            with gzip.open(file, "rt", encoding="utf-8") as lines:
                return np.loadtxt(lines, delimiter=",")
    return _table_of_sklearn()


def _table_of_sklearn() -> Array:
    """The same table by scikit-learn's own function, wherever it keeps the file."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return np.column_stack([bunch.data, bunch.target])


@cache
def digits_of(split: Split) -> Array:
    """The indices of the digits that belong to `split`: a fixed, seeded partition of all 1,797."""
    order = np.random.default_rng(20261124).permutation(len(_digits()[1]))
    start = 0
    for name, share in SHARE.items():
        stop = len(order) if name is Split.TEST else start + round(share * len(order))
        if name is split:
            return order[start:stop]
        start = stop
    raise ValueError(f"no digits for split {split}")


def scene(split: Split, index: int, *, domain: Domain, side: int, seed: int = 0) -> Scene:
    """Draw scene `index` of `split` in `domain`, `side` pixels square."""
    part = list(Split).index(split)
    layout = np.random.default_rng([seed, part, index])
    coverage = np.zeros((side, side), np.float32)
    mask = np.zeros((side, side), np.uint8)
    boxes: list[tuple[int, int, int, int]] = []
    labels: list[int] = []
    images, targets = _digits()
    for _ in range(int(layout.integers(1, 4))):
        chosen = int(layout.choice(digits_of(split)))
        size = round(side * layout.uniform(0.34, 0.47))
        ink = _enlarge(images[chosen], size)
        for _attempt in range(30):
            left, top = (int(v) for v in layout.integers(0, side - size + 1, 2))
            # Whole cells are kept apart, so that boxes never overlap.
            if not coverage[top : top + size, left : left + size].any():
                break
        else:
            continue
        coverage[top : top + size, left : left + size] = ink
        covered = ink > INK
        mask[top : top + size, left : left + size][covered] = targets[chosen] + 1
        rows, columns = np.nonzero(covered)
        boxes.append(
            (
                left + int(columns.min()),
                top + int(rows.min()),
                int(np.ptp(columns)) + 1,
                int(np.ptp(rows)) + 1,
            )
        )
        labels.append(int(targets[chosen]))
    look = np.random.default_rng([seed, part, index, list(Domain).index(domain) + 1])
    return Scene(
        image=_draw(coverage, domain, look),
        boxes=np.asarray(boxes, np.float32),
        labels=np.asarray(labels, np.int64),
        mask=mask,
    )


def scenes(split: Split, count: int, *, domain: Domain, side: int, seed: int = 0) -> Iterator[Scene]:
    """The first `count` scenes of `split`."""
    return (scene(split, index, domain=domain, side=side, seed=seed) for index in range(count))


def _enlarge(digit: Array, size: int) -> Array:
    picture = Image.fromarray((digit * 255).astype(np.uint8)).resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(picture, np.float32) / 255.0


def _draw(coverage: Array, domain: Domain, look: np.random.Generator) -> Array:
    """Colour a coverage map: bright ink on a dark, softly lit ground; then the domain's shift."""
    side = len(coverage)
    paper = look.uniform(0.02, 0.22, 3)
    colour = look.uniform(0.7, 1.0, 3)
    slope = look.uniform(-0.08, 0.08, 2)
    ramp = np.linspace(-1, 1, side, dtype=np.float32)
    light = (slope[0] * ramp[:, None] + slope[1] * ramp[None, :])[..., None]
    ground = paper + light
    if domain is Domain.TEXTURED:
        angle, period = look.uniform(0, np.pi), look.uniform(0.08, 0.2) * side
        across = np.arange(side)[None, :] * np.cos(angle) + np.arange(side)[:, None] * np.sin(angle)
        stripes = 0.5 + 0.5 * np.sin(2 * np.pi * across / period + look.uniform(0, 2 * np.pi))
        ground = ground + 0.55 * stripes[..., None] * look.uniform(0.5, 1.0, 3)
    image = ground + coverage[..., None] * (colour - ground)
    if domain is Domain.INVERTED:
        image = 1.0 - image
    if domain is Domain.NOISY:
        image = 0.25 + 0.5 * image + look.normal(0, 0.16, image.shape)
        flips = look.random((side, side))
        image[flips < 0.03] = 0.0
        image[flips > 0.97] = 1.0
    else:
        image = image + look.normal(0, 0.02, image.shape)
    drawn: Array = (np.clip(image, 0, 1) * 255).astype(np.uint8)
    return drawn
