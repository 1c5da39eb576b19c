"""One batch for all trials that need the same one in a step."""

from __future__ import annotations

from weakref import WeakValueDictionary

from trainables.data.balance import is_balanced
from trainables.data.loader import Batch, Batches
from trainables.specs.trial import Augment, SamplingSpec

Key = tuple[str | int, int, int, int | None, Augment | None, SamplingSpec | None, int]


class SharedBatches:
    """Batches that a trial holds, for others with equal seeds, sizes, sampling and augmentation at a step.

    Nothing is kept for longer than a trial holds it. Splits must live as long as this.
    """

    def __init__(self) -> None:
        self._held: WeakValueDictionary[Key, Batch] = WeakValueDictionary()

    def of(self, batches: Batches, i: int) -> Batch:
        """Batch `i` of `batches`; not to be changed."""
        source = batches.split.batch_source
        key = (
            id(batches.split) if source is None else source.name,
            batches.batch_size,
            batches.epoch,
            batches.seed,
            batches.augment if batches.augments else None,
            batches.sampling if is_balanced(batches.sampling) else None,
            i,
        )
        found = self._held.get(key)
        if found is None:
            found = self._held[key] = batches[i]
        return found
