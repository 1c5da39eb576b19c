"""What counts as the same outputs, on sessions that are made up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from trainables.errors import AdapterError
from trainables.export.onnx.compare import BATCHES, DRAWS, TOLERANCE, Outputs, largest_differences

SIZE = (4, 6)
Model = Callable[[Tensor], Outputs]


class _Session:
    """Runs a function of torch in place of onnxruntime."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.shapes: list[tuple[int, ...]] = []

    def run(self, names: list[str], given: dict[str, Any]) -> list[np.ndarray[Any, Any]]:
        images = torch.from_numpy(given["pixel_values"])
        self.shapes.append(tuple(images.shape))
        found = self.model(images)
        return [found[name].numpy() for name in names]


def _detector(images: Tensor) -> Outputs:
    """Five queries with two logits and a box each."""
    flat = images.flatten(1)
    return {"logits": flat[:, :10].reshape(-1, 5, 2) * 10, "pred_boxes": flat[:, 10:30].reshape(-1, 5, 4)}


def _compare(theirs: Model, ours: Model) -> dict[str, float]:
    return largest_differences(_Session(theirs), ours, [SIZE])


def test_each_size_is_compared_in_both_batches() -> None:
    session = _Session(_detector)
    found = largest_differences(session, _detector, [SIZE, (8, 4)])
    assert session.shapes == [(batch, 3, *size) for size in (SIZE, (8, 4)) for batch in BATCHES]
    assert found == {"logits": 0.0, "pred_boxes": 0.0}
    assert len(BATCHES) > 1


def test_the_largest_difference_is_of_each_output() -> None:
    def near(images: Tensor) -> Outputs:
        found = dict(_detector(images))
        return found | {"pred_boxes": found["pred_boxes"] + 2e-5}

    found = _compare(near, _detector)
    assert found["logits"] == 0.0
    assert found["pred_boxes"] == pytest.approx(2e-5, rel=0.05)


def test_large_outputs_differ_by_a_share_of_the_largest() -> None:
    def scores(by: float) -> Model:
        return lambda images: {"scores": images * 1000 + by}

    assert _compare(scores(0.05), scores(0.0))["scores"] == pytest.approx(0.05, rel=0.05)
    with pytest.raises(AdapterError, match="'scores' differs from torch's by up to 1"):
        _compare(scores(1.0), scores(0.0))


def test_queries_in_another_order_are_the_same() -> None:
    def turned(images: Tensor) -> Outputs:
        return {name: tensor.flip(1) for name, tensor in _detector(images).items()}

    assert _compare(turned, _detector) == {"logits": 0.0, "pred_boxes": 0.0}


def test_masks_go_with_their_queries() -> None:
    def masks(order: list[int]) -> Model:
        def model(images: Tensor) -> Outputs:
            found = dict(_detector(images))
            pixels = images.flatten(1)[:, 30:50].reshape(-1, 5, 2, 2)
            return {name: t[:, [4, 3, 2, 1, 0]] for name, t in found.items()} | {
                "pred_masks": pixels[:, order]
            }

        return model

    def ours(images: Tensor) -> Outputs:
        pixels = images.flatten(1)[:, 30:50].reshape(-1, 5, 2, 2)
        return {**_detector(images), "pred_masks": pixels}

    assert max(_compare(masks([4, 3, 2, 1, 0]), ours).values()) == 0.0
    with pytest.raises(AdapterError, match="'pred_masks' differs"):
        _compare(masks([0, 1, 2, 3, 4]), ours)


def test_boxes_of_other_queries_are_another_model() -> None:
    def mixed(images: Tensor) -> Outputs:
        found = dict(_detector(images))
        return found | {"pred_boxes": found["pred_boxes"].flip(1)}

    with pytest.raises(AdapterError, match="'pred_boxes' differs"):
        _compare(mixed, _detector)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_what_is_not_finite_is_another_model(wrong: float) -> None:
    def broken(images: Tensor) -> Outputs:
        found = {name: tensor.clone() for name, tensor in _detector(images).items()}
        found["logits"][0, 0, 0] = wrong
        return found

    with pytest.raises(AdapterError, match="'logits' differs"):
        _compare(broken, _detector)


def _chooses(ties: int, *, other: bool) -> Model:
    """A model whose first `ties` batches have proposals of equal score, of which any may be chosen."""
    seen: list[Tensor] = []

    def model(images: Tensor) -> Outputs:
        first = images[0, 0, 0, :1]
        known = [n for n, held in enumerate(seen) if bool((first - held).abs() < 1e-4 * held.abs())]
        number = known[0] if known else len(seen)
        if not known:
            seen.append(first.clone())
        tied = number < ties
        changed = bool(known) and not torch.equal(first, seen[number])
        chosen = 7.0 if tied and (other or changed) else 0.0
        return {name: tensor + chosen for name, tensor in _detector(images).items()}

    return model


def test_images_on_which_torch_itself_is_not_certain_are_drawn_again() -> None:
    assert _compare(_chooses(DRAWS - 1, other=True), _chooses(DRAWS - 1, other=False))["logits"] == 0.0


def _sensitive(to_pixels: float, off: float) -> Model:
    """Scores that change by `to_pixels` with the smallest change of pixels, and are `off` from the start."""
    seen: list[Tensor] = []

    def model(images: Tensor) -> Outputs:
        known = [held for held in seen if torch.allclose(held, images[0], rtol=1e-5)]
        if not known:
            seen.append(images[0].clone())
        changed = bool(known) and not torch.equal(known[0], images[0])
        return {"scores": images.clamp(-1, 1) + off + (to_pixels if changed else 0.0)}

    return model


def test_sensitive_outputs_may_differ_by_about_what_torch_itself_changes() -> None:
    found = _compare(_sensitive(0.0, 3e-3), _sensitive(2e-3, 0.0))
    assert found["scores"] == pytest.approx(3e-3, rel=0.01)
    with pytest.raises(AdapterError, match="'scores' differs"):
        _compare(_sensitive(0.0, 3e-3), _sensitive(0.0, 0.0))
    with pytest.raises(AdapterError, match="change much"):
        _compare(_sensitive(0.0, 3e-2), _sensitive(1.0, 0.0))  # however sensitive


def test_a_model_that_is_never_certain_is_refused() -> None:
    with pytest.raises(AdapterError, match="change much when pixels change by a millionth, on 5 batches"):
        _compare(_chooses(1000, other=True), _chooses(1000, other=False))


def test_the_tolerance_is_that_of_other_exports() -> None:
    from trainables.export import write

    assert TOLERANCE == write.TOLERANCE
