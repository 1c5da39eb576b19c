"""The images that the gradient audit looks at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

import numpy as np
import pytest

from trainables.backbones import EMBEDDED
from trainables.data.loader import Batch
from trainables.specs.data import Split
from trainables.specs.workload import Task
from trainables.training import audit_batches as module
from trainables.training.audit_batches import audit_batches
from trainables.training.engine import Engine


@pytest.mark.parametrize("task", list(EMBEDDED))
def test_batches_have_several_classes_and_no_image_twice(
    engine_of: Callable[[Task], Engine], task: Task
) -> None:
    split = engine_of(task).data.splits[Split.TRAIN]
    batches = list(audit_batches(split, 4))
    taken = [i for batch in batches for i in batch.indices]
    assert sorted(taken) == list(range(len(split)))
    assert [len(batch.indices) for batch in batches] == [4] * 6
    assert len(_classes(batches[0])) >= max(len(_classes(batch)) for batch in batches[1:])
    assert len(_classes(batches[0])) > 3


def _classes(batch: Batch) -> set[int]:
    if batch.masks is not None:
        return set(batch.masks.unique().tolist()) - {255}
    assert batch.targets is not None
    return {int(label) for target in batch.targets for label in target["class_labels"]}


@dataclass
class Masks:
    """A split of one-pixel-high masks."""

    masks: list[list[int]]
    has_masks: bool = True

    def __len__(self) -> int:
        return len(self.masks)

    def mask(self, i: int) -> np.ndarray:
        return np.array([self.masks[i]])


def test_the_fewest_images_with_the_most_classes_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "batch_of", lambda split, indices: indices)
    split = Masks([[0, 255], [0, 1], [2, 3], [0, 1], [4, 255], [255, 255]])
    assert list(audit_batches(split, 3)) == [[1, 2, 4], [0, 3, 5]]
    assert list(audit_batches(split, 1))[:3] == [[1], [2], [3]]


def test_of_many_images_a_spread_of_them_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "batch_of", lambda split, indices: indices)
    split = Masks([[0]] * 9 + [[0]] * 990 + [[1]])
    assert next(islice(audit_batches(split, 2), 1)) == [0, 999]
    assert sum(map(len, audit_batches(split, 2))) == module.LOOKED_AT
