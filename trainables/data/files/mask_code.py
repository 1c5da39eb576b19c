"""What the values of a mask stand for: the class of each value, and the hints for values that have none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trainables.data.files.mask_pixels import IGNORE, LOSSY, TRANSPARENT, VALUES, Array, MaskFile
from trainables.data.sample import unknown_classes
from trainables.errors import DataError
from trainables.specs.data import MaskRules
from trainables.wording import few

SHOWN = 8
"""Values that a message lists."""


@dataclass(frozen=True, eq=False)
class MaskCode:
    """The classes of mask values.

    table: (65536,) int16, the class index of each value, 255 for ignored, -1 for no class.
    background: the class index of pixels that nothing was painted on.
    shown: the grey values that have a meaning; None if values are class indices.
    count: the number of classes.  where: the key of the data.
    """

    table: Array
    background: int
    shown: frozenset[int] | None
    count: int
    has_ignore: bool
    where: str = "data.masks"

    @property
    def known(self) -> Array:
        """(65536,) bool: the values that have a class, or are ignored."""
        return self.table >= 0

    def classes(self, mask: MaskFile) -> Array:
        """(height, width) uint8 class indices, 255 for ignored. Raises ValueError for a value of no class."""
        found = np.where(mask.values == TRANSPARENT, self.background, self.table[mask.values])
        if (found < 0).any():
            strange = np.unique(mask.values[found < 0]).tolist()
            present = np.unique(mask.values[mask.values != TRANSPARENT]).tolist()
            shown = few([str(value) for value in strange], SHOWN)
            hint = self._hint(strange, present, mask.format)
            raise ValueError(f"values without a class: {shown}{'; ' if hint else ''}{hint}")
        return found.astype(np.uint8)

    def _hint(self, strange: list[int], present: list[int], format: str | None) -> str:
        if format in LOSSY:
            return f"it is a {format} file, which changes values as it compresses them; store masks as PNG"
        if self.count == 2 and strange == [255] and set(present) <= {0, 255}:
            return f"if 0 and 255 are the two classes, set {self.where}.values: [0, 255]"
        if strange == [255] and not self.has_ignore:
            return f"if pixels of 255 are not to be counted, as in Pascal VOC, set {self.where}.ignore: 255"
        if len(present) == self.count:
            return f"if these are grey values, set {self.where}.values: {present}, in the order of classes"
        return f"every value needs a class: see {self.where}.classes and {self.where}.values"


def mask_code(spec: MaskRules, classes: Sequence[str], where: str = "data.masks") -> MaskCode:
    """The code of `spec`, its classes numbered as in `classes`. Raises DataError.

    where: the key of the data that have the masks.
    """
    if unknown := [name for name in spec.classes if name not in classes]:
        raise DataError(unknown_classes(f"{where}.classes", unknown, classes))
    if len(spec.classes) > IGNORE:
        raise DataError(f"{where}.classes must name at most {IGNORE} classes, got {len(spec.classes)}")
    values = spec.values if spec.values is not None else tuple(range(len(spec.classes)))
    if len(values) != len(spec.classes) or len(set(values)) != len(values):
        raise DataError(
            f"{where}.values must hold one value for each of the {len(spec.classes)} classes, "
            f"all different, got {list(values)}"
        )
    outside = [v for v in (*values, *([] if spec.ignore is None else [spec.ignore])) if not 0 <= v < VALUES]
    if outside:
        raise DataError(f"mask values must be in 0 to {VALUES - 1}, got {outside}")
    if spec.ignore in values:
        raise DataError(f"{where}.ignore must not be the value of a class, got {spec.ignore}")
    table = np.full(VALUES, -1, np.int16)
    table[list(values)] = [classes.index(name) for name in spec.classes]
    if spec.ignore is not None:
        table[spec.ignore] = IGNORE
    shown = frozenset(values) | ({spec.ignore} if spec.ignore is not None else frozenset())
    return MaskCode(
        table,
        classes.index(spec.background_class or spec.classes[0]),
        None if spec.values is None else shown,
        len(spec.classes),
        spec.ignore is not None,
        where,
    )
