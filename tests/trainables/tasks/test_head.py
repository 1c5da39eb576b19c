"""The heads of a ViT: which blocks they read, and what they compute."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch.nn import functional

from trainables.specs.trial import HeadKind, HeadSpec
from trainables.tasks.head import LinearHead, SegmentationHead, blocks_read, new_head


def _spec(**given: Any) -> HeadSpec:
    return HeadSpec.model_validate_json(json.dumps(given))


@pytest.mark.parametrize(
    ("given", "count", "expected"),
    [
        ({}, 12, None),
        ({"kind": "linear"}, 12, (11,)),
        ({"kind": "linear", "blocks": [-1, -3, 0]}, 12, (0, 9, 11)),
        ({"kind": "multiscale"}, 12, (2, 5, 8, 11)),
        ({"kind": "multiscale"}, 24, (5, 11, 17, 23)),
        ({"kind": "multiscale"}, 5, (0, 1, 2, 4)),
        ({"kind": "multiscale"}, 3, (0, 1, 2)),
        ({"kind": "multiscale", "blocks": [1]}, 3, (1,)),
    ],
)
def test_the_blocks_that_are_read(given: dict[str, Any], count: int, expected: Any) -> None:
    assert blocks_read(_spec(**given), count) == expected


def test_a_linear_head_is_one_product_for_each_patch() -> None:
    head = new_head(_spec(kind="linear"), 6, 3, blocks=2)
    assert isinstance(head, LinearHead)
    tokens = torch.randn(2, 4, 12)
    weight, bias = head.classify.weight.flatten(1), head.classify.bias
    small = functional.linear(tokens, weight, bias).transpose(1, 2).reshape(2, 3, 2, 2)
    assert torch.allclose(head(tokens, grid=(2, 2), size=None), small, atol=1e-6)
    large = functional.interpolate(small, size=(8, 8), mode="bilinear")
    assert torch.allclose(head(tokens, grid=(2, 2), size=(8, 8)), large, atol=1e-5)


def test_norm_and_dropout_of_every_kind() -> None:
    for kind in HeadKind:
        bare, full = (
            new_head(_spec(kind=kind, **given), 6, 3, blocks=1)
            for given in ({}, {"norm": True, "dropout": 0.5})
        )
        tokens = torch.randn(4, 4, 6)
        assert torch.equal(bare(tokens, grid=(2, 2), size=None), bare(tokens, grid=(2, 2), size=None))
        first, second = (full(tokens, grid=(2, 2), size=None) for _ in range(2))
        assert not torch.equal(first, second), "dropout draws"
        assert int(full.norm.num_batches_tracked) == 2  # type: ignore[arg-type]


def test_a_multiscale_head_is_the_convolutional_one_over_wider_tokens() -> None:
    head = new_head(_spec(kind="multiscale", width=5), 6, 3, blocks=4)
    assert isinstance(head, SegmentationHead)
    assert head.reduce.weight.shape == (5, 24, 3, 3)
    assert new_head(_spec(kind="multiscale"), 6, 3, blocks=4).reduce.out_channels == 3  # type: ignore[union-attr]
