"""The embedded data set as a source; `embedded` draws it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image
from pydantic import JsonValue

from trainables.data import embedded
from trainables.data.files.drawn_masks import Outline
from trainables.data.files.pixels import Photo
from trainables.data.sample import Annotations, Array, DataPart, DataSource
from trainables.specs.data import EmbeddedData, Split
from trainables.specs.workload import Task

BACKGROUND = "background"


@dataclass(frozen=True)
class DigitSample:
    """Scene `index` of `split`, drawn when it is requested."""

    spec: EmbeddedData
    split: Split
    index: int

    @property
    def name(self) -> str:
        """Split and index."""
        return f"{self.split}-{self.index:05d}"

    @property
    def origin(self) -> str:
        """Split and index."""
        return self.name

    def photo(self) -> Photo:
        """The scene."""
        return Photo(Image.fromarray(self._scene().image))

    def annotations(self, photo: Photo | None = None) -> Annotations:
        """Boxes tight around the ink."""
        scene = self._scene()
        boxes = scene.boxes.tolist()
        return Annotations.of(
            boxes,
            scene.labels.tolist(),
            [w * h for _, _, w, h in boxes],
            [False] * len(boxes),
            shapes=[_ink(scene.mask, box) for box in boxes],
        )

    def mask(self, photo: Photo | None = None) -> Array:
        """0 for background, d + 1 for digit d."""
        return self._scene().mask

    def _scene(self) -> embedded.Scene:
        return _drawn(self.spec, self.split, self.index)


@lru_cache(maxsize=64)
def _drawn(spec: EmbeddedData, split: Split, index: int) -> embedded.Scene:
    """A scene; the last ones are cached, for callers that request an image and then its boxes."""
    return embedded.scene(split, index, domain=spec.domain, side=spec.side, seed=spec.seed)


def _ink(mask: Array, box: Sequence[float]) -> Outline:
    """The pixels of one digit, which no other digit's box has."""
    x, y, width, height = (int(value) for value in box)
    own = np.zeros(mask.shape, bool)
    own[y : y + height, x : x + width] = mask[y : y + height, x : x + width] > 0
    return Outline.of_pixels(own)


def read_digits(spec: EmbeddedData, task: Task) -> DataSource:
    """Three parts of scenes; the background is the first class if the task has one."""
    counts = {Split.TRAIN: spec.train, Split.VALIDATION: spec.validation, Split.TEST: spec.test}
    classes = (BACKGROUND, *embedded.CLASSES) if task.facts.background else embedded.CLASSES
    return DataSource(
        classes,
        {split: DataPart([DigitSample(spec, split, i) for i in range(n)]) for split, n in counts.items()},
        background=BACKGROUND if task.facts.background else None,
    )


def digits_identity(spec: EmbeddedData) -> JsonValue:
    """The parameters and the version of the drawing: a changed drawing is another data set."""
    return {"parameters": spec.model_dump(mode="json"), "code": embedded.DRAWING}
