"""The segmentation losses against their formulas, written out."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from trainables.specs.trial import Loss
from trainables.tasks.losses import (
    GROUP,
    Measures,
    lane_losses,
    loss_of,
    mean_loss,
    measure_images,
    soft_dice,
)


def segmentation_loss(logits: torch.Tensor, target: torch.Tensor, loss: Loss) -> torch.Tensor:
    """The loss of one lane: of all images."""
    (found,) = lane_losses(logits, target, loss, lanes=1)
    return found


def _case(images: int = 3, classes: int = 4, *, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    target = torch.randint(0, classes - 1, (images, 6, 5), dtype=torch.uint8)  # the last class is absent
    target[:, 0, :2] = 255
    return torch.randn(images, classes, 6, 5, requires_grad=True), target


def _dice_by_class(logits: torch.Tensor, target: torch.Tensor) -> dict[int, tuple[float, int]]:
    """Class -> (soft Dice, pixels), over all counted pixels of the batch."""
    found = {}
    counted = target != 255
    probability = logits.detach().softmax(1)
    for c in range(logits.shape[1]):
        p, t = probability[:, c][counted], (target[counted] == c).float()
        if t.sum():
            found[c] = (float(2 * (p * t).sum() / (p.sum() + t.sum())), int(t.sum()))
    return found


def test_cross_entropy_is_torchs_where_images_have_equally_many_pixels() -> None:
    logits, target = _case()
    own = segmentation_loss(logits, target, Loss.CROSS_ENTROPY)
    assert own.item() == pytest.approx(
        functional.cross_entropy(logits, target.long(), ignore_index=255).item(), rel=1e-6
    )


def test_cross_entropy_is_a_mean_over_images_so_pieces_add_up() -> None:
    logits, target = _case(4)
    target[0, 1:] = 255
    whole = segmentation_loss(logits, target, Loss.CROSS_ENTROPY)
    pieces = [segmentation_loss(logits[i : i + 1], target[i : i + 1], Loss.CROSS_ENTROPY) for i in range(4)]
    assert whole.item() == pytest.approx(sum(p.item() for p in pieces) / 4, rel=1e-6)


def test_dice_is_the_mean_over_classes_present() -> None:
    logits, target = _case()
    by_class = _dice_by_class(logits, target)
    assert sorted(by_class) == [0, 1, 2]
    expected = 1 - sum(d for d, _ in by_class.values()) / 3
    assert segmentation_loss(logits, target, Loss.DICE).item() == pytest.approx(expected, rel=1e-5)


def test_log_cosh_dice_weighs_classes_by_inverse_frequency() -> None:
    logits, target = _case()
    target[:, 3:] = 1  # make one class frequent
    by_class = _dice_by_class(logits, target)
    total = sum(1 / n for _, n in by_class.values())
    weighted = sum(d / n for d, n in by_class.values()) / total
    expected = math.log(math.cosh(1 - weighted))
    assert segmentation_loss(logits, target, Loss.LOG_COSH_DICE).item() == pytest.approx(expected, rel=1e-4)
    assert soft_dice(measure_images(logits.detach(), target)) == pytest.approx(weighted, rel=1e-5)


def test_the_sum_is_the_sum() -> None:
    logits, target = _case()
    parts = [segmentation_loss(logits, target, loss).item() for loss in (Loss.CROSS_ENTROPY, Loss.DICE)]
    whole = segmentation_loss(logits, target, Loss.CROSS_ENTROPY_DICE).item()
    assert whole == pytest.approx(sum(parts), rel=1e-6)


@pytest.mark.parametrize("loss", list(Loss))
def test_every_loss_has_gradients_only_at_counted_pixels(loss: Loss) -> None:
    logits, target = _case()
    segmentation_loss(logits, target, loss).backward()
    assert logits.grad is not None
    ignored = (target == 255).unsqueeze(1).expand_as(logits)
    assert torch.all(logits.grad[ignored] == 0)
    assert torch.all(logits.grad[~ignored].isfinite())
    assert logits.grad.abs().sum() > 0


@pytest.mark.parametrize("loss", list(Loss))
def test_a_perfect_map_has_no_loss_and_a_wrong_one_has(loss: Loss) -> None:
    target = torch.randint(0, 3, (2, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    right = functional.one_hot(target.long(), 3).permute(0, 3, 1, 2) * 50.0
    assert segmentation_loss(right, target, loss).item() == pytest.approx(0, abs=1e-5)
    assert segmentation_loss(-right, target, loss).item() > 0.3


@pytest.mark.parametrize("loss", list(Loss))
def test_nothing_counted_is_no_loss(loss: Loss) -> None:
    logits, target = _case()
    value = segmentation_loss(logits, torch.full_like(target, 255), loss)
    assert value.item() == 0
    value.backward()
    assert torch.all(logits.grad == 0)


@pytest.mark.parametrize("loss", list(Loss))
def test_set_metrics_do_not_depend_on_batching(loss: Loss) -> None:
    logits, target = _case(GROUP + 5)
    with torch.no_grad():
        whole = measure_images(logits, target)
        parts = Measures.join(
            [measure_images(logits[i : i + 7], target[i : i + 7]) for i in range(0, GROUP + 5, 7)]
        )
    assert mean_loss(parts, loss) == pytest.approx(mean_loss(whole, loss), rel=1e-6)
    first, last = (
        loss_of(measure_images(logits[:GROUP], target[:GROUP]), loss),
        loss_of(measure_images(logits[GROUP:], target[GROUP:]), loss),
    )
    assert mean_loss(whole, loss) == pytest.approx(
        (first.item() * GROUP + last.item() * 5) / (GROUP + 5), rel=1e-6
    )
    assert soft_dice(parts) == pytest.approx(soft_dice(whole), rel=1e-6)


def test_loss_is_taken_in_float32() -> None:
    logits, target = _case()
    assert segmentation_loss(logits.bfloat16(), target, Loss.CROSS_ENTROPY_DICE).dtype is torch.float32


WEIGHTS = torch.tensor([1.0, 4.0, 0.25, 2.0])


@pytest.mark.parametrize("classes", [4, 12], ids=["few classes", "many classes"])
def test_a_weighted_cross_entropy_is_torchs_of_each_image(classes: int) -> None:
    logits, target = _case(classes=classes)
    weights = torch.linspace(0.3, 5, classes)
    (value,) = lane_losses(logits, target, Loss.CROSS_ENTROPY, lanes=1, weights=weights)
    each = [
        functional.cross_entropy(own[None], truth[None].long(), weights, ignore_index=255)
        for own, truth in zip(logits, target, strict=True)
    ]
    torch.testing.assert_close(value, torch.stack(each).mean())


def test_a_weighted_dice_is_a_weighted_mean_over_the_classes_present() -> None:
    logits, target = _case()
    target[target == 3] = 0  # class 3 is absent
    logits = logits.detach()
    guess, true = (
        logits.softmax(1),
        functional.one_hot(target.where(target != 255, 0).long(), 4).permute(0, 3, 1, 2),
    )
    counted = (target != 255)[:, None]
    both = ((guess + true) * counted).sum((0, 2, 3))
    dice = (2 * (guess * true) * counted).sum((0, 2, 3)) / both
    (value,) = lane_losses(logits, target, Loss.DICE, lanes=1, weights=WEIGHTS)
    assert value.item() == pytest.approx(1 - float((WEIGHTS * dice)[:3].sum() / WEIGHTS[:3].sum()), abs=1e-6)


@pytest.mark.parametrize("loss", list(Loss))
def test_equal_weights_are_none(loss: Loss) -> None:
    logits, target = _case()
    for weight in (1.0, 3.0):
        weighted = lane_losses(logits, target, loss, lanes=3, weights=torch.full((4,), weight))
        torch.testing.assert_close(weighted, lane_losses(logits, target, loss, lanes=3))


@pytest.mark.parametrize("loss", list(Loss))
def test_a_heavier_class_is_learned_first(loss: Loss) -> None:
    """A map that is wrong in class 1 alone loses more, the more the class weighs."""
    target = torch.zeros(2, 8, 8, dtype=torch.uint8)
    target[:, :2] = 1
    logits = torch.zeros(2, 2, 8, 8)
    logits[:, 0] = 2.0
    light, heavy = (
        float(lane_losses(logits, target, loss, lanes=1, weights=torch.tensor([1.0, w]))[0]) for w in (0.2, 5)
    )
    assert heavy > light + 0.05


@pytest.mark.parametrize("loss", list(Loss))
def test_nothing_counted_is_no_loss_with_weights(loss: Loss) -> None:
    logits, target = _case()
    (value,) = lane_losses(logits, torch.full_like(target, 255), loss, lanes=1, weights=WEIGHTS)
    assert value.item() == 0
    value.backward()
    assert torch.all(logits.grad == 0)
