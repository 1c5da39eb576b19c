"""Losses of small maps against the same losses of enlarged ones, as autograd computes them."""

from __future__ import annotations

import pytest
import torch

from trainables.specs.trial import Loss
from trainables.tasks.enlarged_losses import IN_CACHE, enlarged_losses, lanes_are_independent
from trainables.tasks.head import enlarge
from trainables.tasks.losses import lane_losses

SIZES = [((4, 4), (32, 32)), ((3, 5), (24, 40)), ((4, 6), (4, 6))]


def _case(
    images: int, grid: tuple[int, int], size: tuple[int, int], classes: int = 5
) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    maps = 4 * torch.randn(images, classes, *grid)
    target = torch.randint(0, classes - 1, (images, *size), dtype=torch.uint8)  # the last class is absent
    target[0, :2] = 255
    return maps, target


def _with_gradient(losses: torch.Tensor, maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    (gradient,) = torch.autograd.grad(losses @ torch.arange(1.0, len(losses) + 1), maps)
    return losses.detach(), gradient


@pytest.mark.parametrize("loss", Loss)
@pytest.mark.parametrize(("grid", "size"), SIZES)
@pytest.mark.parametrize("lanes", [1, 3])
def test_values_and_gradients_are_those_of_the_enlarged_maps(
    loss: Loss, grid: tuple[int, int], size: tuple[int, int], lanes: int
) -> None:
    maps, target = _case(6, grid, size)
    maps.requires_grad_()
    value, gradient = _with_gradient(enlarged_losses(maps, target, loss, lanes=lanes), maps)
    expected = _with_gradient(lane_losses(enlarge(maps, size), target, loss, lanes=lanes), maps)
    torch.testing.assert_close(value, expected[0], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(gradient, expected[1], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("loss", Loss)
def test_a_batch_without_a_counted_pixel_has_no_gradient(loss: Loss) -> None:
    maps, target = _case(2, (4, 4), (8, 8))
    maps.requires_grad_()
    value, gradient = _with_gradient(enlarged_losses(maps, torch.full_like(target, 255), loss, lanes=1), maps)
    expected = lane_losses(enlarge(maps, (8, 8)), torch.full_like(target, 255), loss, lanes=1)
    torch.testing.assert_close(value, expected.detach())
    assert not gradient.any()


@pytest.mark.parametrize("loss", Loss)
def test_many_pixels_are_computed_in_several_pieces(loss: Loss) -> None:
    size = (128, 128)
    maps, target = _case(3, (16, 16), size, classes=8)
    assert maps.shape[1] * target.numel() > IN_CACHE  # so not all at once
    maps.requires_grad_()
    value, gradient = _with_gradient(enlarged_losses(maps, target, loss, lanes=1), maps)
    expected = _with_gradient(lane_losses(enlarge(maps, size), target, loss, lanes=1), maps)
    torch.testing.assert_close(value, expected[0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient, expected[1], rtol=1e-3, atol=1e-8)


@pytest.mark.parametrize("loss", Loss)
@pytest.mark.parametrize("images", [1, 2, 3, 8])
def test_a_lane_has_the_same_bits_among_others(loss: Loss, images: int) -> None:
    maps, target = _case(7 * images, (4, 4), (32, 32))
    maps.requires_grad_()
    together, gradients = _with_gradient(enlarged_losses(maps, target, loss, lanes=7), maps)
    for lane in range(7):
        rows = slice(lane * images, (lane + 1) * images)
        own = maps.detach()[rows].requires_grad_()
        value = enlarged_losses(own, target[rows], loss, lanes=1)
        (gradient,) = torch.autograd.grad(value.sum(), own)
        assert torch.equal(value[0], together[lane])
        assert torch.equal(gradient * (lane + 1), gradients[rows])


def test_whether_lanes_are_computed_at_once_is_seen_from_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def rounded(maps: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        calls.append(len(maps))
        return maps.sum((1, 2, 3)) + (1e-3 if len(maps) > 4 else 0), maps

    monkeypatch.setattr("trainables.tasks.enlarged_losses._entropy_with_gradient", rounded)
    kind = torch.Size((3, 2, 2)), torch.Size((4, 4))
    assert lanes_are_independent.__wrapped__(2, *kind, 2)
    assert not lanes_are_independent.__wrapped__(2, *kind, 3)


def test_extreme_logits_give_finite_values() -> None:
    maps, target = _case(2, (4, 4), (32, 32))
    maps = (1e4 * maps).requires_grad_()
    value, gradient = _with_gradient(enlarged_losses(maps, target, Loss.CROSS_ENTROPY, lanes=1), maps)
    expected = lane_losses(enlarge(maps, (32, 32)), target, Loss.CROSS_ENTROPY, lanes=1)
    torch.testing.assert_close(value, expected.detach(), rtol=1e-5, atol=0)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_not_hidden(bad: float) -> None:
    maps, target = _case(4, (4, 4), (32, 32))
    maps[3, 1, 2, 2] = bad
    losses = enlarged_losses(maps, target, Loss.CROSS_ENTROPY, lanes=2)
    assert losses[0].isfinite()
    assert not losses[1].isfinite()


WEIGHTS = torch.tensor([1.0, 4.0, 0.25, 2.0, 7.0])


@pytest.mark.parametrize("loss", Loss)
@pytest.mark.parametrize("lanes", [1, 3])
def test_weighted_values_and_gradients_are_those_of_the_enlarged_maps(loss: Loss, lanes: int) -> None:
    maps, target = _case(6, (3, 5), (24, 40))
    maps.requires_grad_()
    value, gradient = _with_gradient(enlarged_losses(maps, target, loss, lanes=lanes, weights=WEIGHTS), maps)
    large = enlarge(maps, (24, 40))
    expected = _with_gradient(lane_losses(large, target, loss, lanes=lanes, weights=WEIGHTS), maps)
    torch.testing.assert_close(value, expected[0], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(gradient, expected[1], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("loss", Loss)
@pytest.mark.parametrize("images", [1, 3])
def test_a_weighted_lane_has_the_same_bits_among_others(loss: Loss, images: int) -> None:
    maps, target = _case(5 * images, (4, 4), (32, 32))
    maps.requires_grad_()
    together, gradients = _with_gradient(enlarged_losses(maps, target, loss, lanes=5, weights=WEIGHTS), maps)
    for lane in range(5):
        rows = slice(lane * images, (lane + 1) * images)
        own = maps.detach()[rows].requires_grad_()
        value = enlarged_losses(own, target[rows], loss, lanes=1, weights=WEIGHTS)
        (gradient,) = torch.autograd.grad(value.sum(), own)
        assert torch.equal(value[0], together[lane])
        assert torch.equal(gradient * (lane + 1), gradients[rows])


@pytest.mark.parametrize("loss", Loss)
def test_a_weighted_batch_without_a_counted_pixel_has_no_gradient(loss: Loss) -> None:
    maps, target = _case(2, (4, 4), (8, 8))
    maps.requires_grad_()
    nothing = torch.full_like(target, 255)
    value, gradient = _with_gradient(enlarged_losses(maps, nothing, loss, lanes=1, weights=WEIGHTS), maps)
    assert value.isfinite().all()
    assert not gradient.any()
