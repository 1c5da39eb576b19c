"""Which trials share a batch."""

from __future__ import annotations

import gc

import pytest
import torch

from tests.trainables.conftest import config
from trainables.data.loader import train_batches
from trainables.data.prepared import PreparedSplit
from trainables.data.shared_batches import SharedBatches
from trainables.specs.data import Split
from trainables.specs.trial import Augment, Balance, SamplingSpec
from trainables.specs.workload import Task

FLIPPED = Augment(horizontal_flip=0.5)


@pytest.fixture
def split(engine_of) -> PreparedSplit:  # type: ignore[no-untyped-def]
    found: PreparedSplit = engine_of(Task.SEGMENTATION).data.splits[Split.TRAIN]
    return found


def test_equal_batches_are_made_once_while_one_is_held(split: PreparedSplit) -> None:
    shared = SharedBatches()

    def of(i: int = 0, *, epoch: int = 0, seed: int = 0, size: int = 4, augment: Augment = FLIPPED) -> object:
        return shared.of(train_batches(split, epoch=epoch, seed=seed, batch_size=size, augment=augment), i)

    held = of()
    assert of() is held
    for other in (of(1), of(epoch=1), of(seed=1), of(size=2), of(augment=Augment())):
        assert other is not held
    number = len(shared._held)
    del held, other
    gc.collect()
    assert number
    assert not len(shared._held)


def test_a_source_of_equal_batches_is_known_by_its_name(split: PreparedSplit) -> None:
    class Source:
        def __init__(self, name: str) -> None:
            self.name = name

        def __call__(self, batches: object, i: int) -> object:
            return train_batches(split, epoch=0, seed=0, batch_size=4, augment=Augment())[i]

    shared = SharedBatches()
    first, same, other = (split.served_by(Source(name)) for name in ("a", "a", "b"))
    held = [
        shared.of(train_batches(part, epoch=0, seed=0, batch_size=4, augment=Augment()), 0)
        for part in (first, same, other, split)
    ]
    assert held[0] is held[1]
    assert len({id(batch) for batch in held}) == 3


@pytest.mark.parametrize("seeds", [(0, 0), (0, 1)])
def test_a_step_of_trials_shares_their_batch_if_their_seeds_are_equal(engine_of, seeds) -> None:  # type: ignore[no-untyped-def]
    engine = engine_of(Task.SEGMENTATION)
    states = [engine.start(config(f'{{"adapter": "lora", "seed": {seed}}}')) for seed in seeds]
    groups = [engine.begin_step(state) for state in states]
    assert (groups[0][0] is groups[1][0]) == (seeds[0] == seeds[1])
    alone = engine_of(Task.SEGMENTATION).begin_step(states[1])
    assert torch.equal(alone[0].images, groups[1][0].images)


def test_trials_share_a_batch_only_with_the_same_sampling(split: PreparedSplit) -> None:
    shared = SharedBatches()
    by_class = SamplingSpec(balance=Balance.CLASS)

    def of(sampling: SamplingSpec) -> object:
        batches = train_batches(split, epoch=0, seed=0, batch_size=4, augment=Augment(), sampling=sampling)
        return shared.of(batches, 0)

    plain, balanced = of(SamplingSpec()), of(by_class)
    assert of(SamplingSpec(power=1.0)) is plain  # of no meaning without balance
    assert balanced is not plain
    assert of(by_class) is balanced
    assert of(SamplingSpec(balance=Balance.CLASS, power=1.0)) is not balanced
