"""What tells one file of features from another."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
import torch
from torch import nn

from tests.trainables.features.conftest import engine, trial
from trainables.data.corruptions import CorruptedSplit
from trainables.features.key import TensorDigests, images_key, machine_key, model_key, version_key
from trainables.specs.data import Corruption, CorruptionSpec, Split
from trainables.specs.trial import Augment
from trainables.tasks.base import Scale


def test_digests_follow_values_shapes_types_and_names() -> None:
    digests, tensor = TensorDigests(), torch.arange(6.0)
    plain = digests.of({"a": tensor})
    assert digests.of({"a": tensor.clone()}) == plain
    others = [{"b": tensor}, {"a": tensor.view(2, 3)}, {"a": tensor.double()}, {"a": -tensor}, {}]
    assert len({plain, *(digests.of(other) for other in others)}) == len(others) + 1
    assert digests.of({"a": tensor.bfloat16()}) != plain


def test_a_tensor_that_was_changed_in_place_has_another_digest() -> None:
    digests, weight = TensorDigests(), nn.Parameter(torch.ones(3))
    plain = digests.of({"w": weight})
    with torch.no_grad():
        weight[1] = 2.0
    assert digests.of({"w": weight}) != plain


def test_a_tensor_is_digested_once_and_not_kept_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    digests, weight = TensorDigests(), torch.ones(3)
    first = digests.of({"w": weight})
    monkeypatch.setattr("trainables.features.key.hashlib.blake2b", _only_names(monkeypatch))
    assert digests.of({"w": weight}) == first
    del weight
    assert len(digests._known) == 0


def _only_names(monkeypatch: pytest.MonkeyPatch) -> Any:
    from hashlib import blake2b

    def digest(data: Any = b"", **options: Any) -> Any:
        assert not isinstance(data, memoryview), "values are read again"
        return blake2b(data, **options)

    return digest


def test_the_same_model_has_one_key_with_and_without_an_adapter_above() -> None:
    made = engine()

    def key(block: int, scale: Scale = made.task.scale, **settings: Any) -> str:
        state = made.start(trial(**settings))
        return json.dumps(model_key(state.model, "digest", block=block, scale=scale))

    plain = key(2, adapter="none")
    assert key(2, adapter="lora", blocks=[-1, -1]) == plain
    assert key(3, adapter="none") != plain
    assert key(2, Scale((0.0,) * 3, (1.0,) * 3), adapter="none") != plain


def test_images_are_told_apart_by_file_time_and_corruption() -> None:
    made = engine()
    validation = made.data.splits[Split.VALIDATION]
    corrupted = CorruptedSplit.of(validation, CorruptionSpec(kind=Corruption.BLUR))
    keys = [images_key(validation), images_key(corrupted), images_key(made.data.splits[Split.TRAIN])]
    keys.append(images_key(CorruptedSplit.of(validation, CorruptionSpec(kind=Corruption.BLUR, severity=2))))
    assert images_key(validation.only([0, 2])) == keys[0], "parts of a split share a file"
    os.utime(validation.path, ns=(1, 1))
    keys.append(images_key(validation))
    assert len({json.dumps(key) for key in keys}) == len(keys)


def test_versions_are_told_apart_by_changes_seed_and_number() -> None:
    flips = Augment(horizontal_flip=0.5, views=4)
    one = version_key(flips, 0, 1)
    assert version_key(flips.model_copy(update={"views": 9}), 0, 1) == one, "the first are the same"
    assert one != version_key(flips, 1, 1)
    assert one != version_key(flips, 0, 2)
    assert one != version_key(Augment(horizontal_flip=0.4, views=4), 0, 1)


def test_threads_are_a_part_of_the_machine() -> None:
    cpu = torch.device("cpu")
    one = machine_key(cpu)
    torch.set_num_threads(2)
    try:
        assert machine_key(cpu) != one
    finally:
        torch.set_num_threads(1)
