"""Segmentation losses of small maps that are enlarged to the masks: value and gradient in one go, on a CPU.

As functions of torch one after the other, a loss writes the enlarged logits, their logarithms of
probabilities and the gradients of both as arrays of all images, which are too large for a core's cache. Here
everything of a few images is computed while they are in it, and only the gradient of the small maps is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from trainables.data.files.mask_pixels import IGNORE
from trainables.specs.trial import Loss
from trainables.tasks.head import enlarging
from trainables.tasks.losses import _EPS, WITHOUT_ENTROPY, Measures, loss_of, pixel_weights
from trainables.tasks.row_bits import rows_have_same_bits

IN_CACHE = 1 << 18
"""Enlarged logits that are computed at once; as float32 they are as large as the L2 cache of a core."""


def enlarged_losses(
    maps: Tensor, target: Tensor, loss: Loss, *, lanes: int, weights: Tensor | None = None
) -> Tensor:
    """(lanes,) the loss of each of `lanes` equally large parts of the images; see `losses.lane_losses`.

    maps: (images, classes, h, w) float32 logits on a CPU, before `enlarge`.  target: (images, H, W) classes.
    weights: (classes,) float32, see `losses.loss_of`.
    What a lane's loss and gradient are does not depend on the other lanes. There is no second derivative.
    """
    found: Tensor = _Losses.apply(maps, target, loss, lanes, weights)  # type: ignore[no-untyped-call]
    return found


class _Losses(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, maps: Tensor, target: Tensor, loss: Loss, lanes: int, weights: Tensor | None
    ) -> Tensor:
        images = len(maps) // lanes
        if loss is Loss.CROSS_ENTROPY:
            values, gradients = _cross_entropies(maps, target, images, weights)
        else:
            found = [
                _with_overlap(own, truth, loss, weights)
                for own, truth in zip(torch.split(maps, images), torch.split(target, images), strict=True)
            ]
            values, gradients = [value for value, _ in found], [gradient for _, gradient in found]
        ctx.save_for_backward(torch.cat(gradients))
        ctx.images = images
        return torch.stack(values)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (own,) = ctx.saved_tensors
        return own * grad.repeat_interleave(ctx.images).view(-1, 1, 1, 1), None, None, None, None


def _cross_entropies(
    maps: Tensor, target: Tensor, images: int, weights: Tensor | None
) -> tuple[list[Tensor], list[Tensor]]:
    """The loss of each lane, and gradients of the maps, a few images at a time. images: those of a lane."""
    fitting = max(1, IN_CACHE // (maps.shape[1] * target[0].numel()))
    together = fitting // images
    alone = together < 2 or weights is not None
    if alone or not lanes_are_independent(images, maps.shape[1:], target.shape[1:], together):
        # All images of a lane at once or, if they are many, some of them.
        together = 1
    at_once = min(images * together, fitting)
    entropies, gradients = [], []
    for lane in range(0, len(maps), images * together):
        some = slice(lane, lane + images * together)
        for own, truth in zip(
            torch.split(maps[some], at_once), torch.split(target[some], at_once), strict=True
        ):
            entropy, gradient = _entropy_with_gradient(own, truth, weights)
            entropies.append(entropy)
            gradients.append(gradient / images)
    return [each.mean() for each in torch.split(torch.cat(entropies), images)], gradients


def _entropy_with_gradient(
    maps: Tensor, target: Tensor, weights: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """(images,) the cross-entropy of each image, and the gradient of their sum."""
    pixels = _Pixels(maps, target, weights)
    entropy = pixels.entropy()
    return entropy, pixels.shrunk(pixels.entropy_gradient()) / pixels.counts.view(-1, 1, 1, 1)


@cache
def lanes_are_independent(images: int, small: Sequence[int], size: Sequence[int], lanes: int) -> bool:
    """Whether images get the same bits among those of up to `lanes` lanes as among those of one.

    images: those of a lane.  small: (classes, h, w) of their maps.  size: (H, W).
    """
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode(mode=False), torch.no_grad():
        maps = 3 * torch.randn(lanes * images, *small, generator=generator)
        target = torch.randint(small[0], (lanes * images, *size), generator=generator).to(torch.uint8)
        target[:, 0, 0] = IGNORE
        parts = [slice(0, count * images) for count in range(1, lanes)]
        parts += [slice(lane * images, (lane + 1) * images) for lane in range(1, lanes)]
        for truth in (target, target.where(target != IGNORE, 0)):
            if not rows_have_same_bits(_entropy_with_gradient, (maps, truth), parts):
                return False
    return True


def _with_overlap(maps: Tensor, target: Tensor, loss: Loss, weights: Tensor | None) -> tuple[Tensor, Tensor]:
    """The same for a loss in which all images count together."""
    pixels = _Pixels(maps, target, weights)
    overlap, predicted, true = pixels.overlap()
    entropy = maps.new_zeros(len(maps)) if loss in WITHOUT_ENTROPY else pixels.entropy()
    with torch.enable_grad():
        measures = Measures(entropy, overlap, predicted, true)
        moving = [measure.requires_grad_() for measure in (entropy, overlap, predicted)]
        value = loss_of(measures, loss, weights)
        by_entropy, *by_overlap = torch.autograd.grad(value, moving, allow_unused=True)
    gradient = pixels.overlap_gradient(*by_overlap)
    if loss not in WITHOUT_ENTROPY:
        gradient += pixels.entropy_gradient() * (by_entropy / pixels.counts).view(1, 1, -1, 1)
    return value.detach(), pixels.shrunk(gradient)


class _Pixels:
    """The class probabilities of all pixels of some images.

    Tensors are (H, classes, images, W): enlarging is then two products of matrices, and what is summed over
    classes lies in long rows.
    """

    def __init__(self, maps: Tensor, target: Tensor, weights: Tensor | None = None) -> None:
        images, classes, height, width = maps.shape
        self._small = maps.shape
        self._down, self._across = (
            enlarging(*sides, maps.device) for sides in ((height, target.shape[1]), (width, target.shape[2]))
        )
        columns = functional.linear(maps.permute(2, 1, 0, 3).reshape(-1, width), self._across)
        scores = torch.mm(self._down, columns.view(height, -1)).view(len(self._down), classes, images, -1)
        counted = target != IGNORE
        self.counts = counted.flatten(1).sum(1).clamp(min=1)
        """(images,) the number of pixels that count, or the sum of their weights."""
        self._counted = None if bool(counted.all()) else _as_rows(counted).float()
        """(H, 1, images, W) 1 where a pixel counts, else 0; None if all do."""
        truth = target if self._counted is None else target.where(counted, 0)
        self._truth = _as_rows(truth).long()
        self._weights = None if weights is None else _as_rows(pixel_weights(target, weights))
        """(H, 1, images, W) what each pixel counts in the cross-entropy; None if that is `_counted`."""
        if weights is not None:
            self.counts = pixel_weights(target, weights).flatten(1).sum(1).clamp(min=_EPS)
        scores.sub_(scores.amax(1, keepdim=True))
        self._right = scores.gather(1, self._truth)
        scores.exp_()
        self._sums = scores.sum(1, keepdim=True)
        self._probabilities = scores.div_(self._sums)

    def entropy(self) -> Tensor:
        """(images,) cross-entropy, mean over an image's counted pixels."""
        return self._of_weighted(self._sums.log() - self._right).sum((0, 1, 3)) / self.counts

    def entropy_gradient(self) -> Tensor:
        """Of the cross-entropy's sum over counted pixels. Call it last: it overwrites the probabilities."""
        gradient = self._probabilities
        gradient.scatter_add_(1, self._truth, gradient.new_tensor(-1.0).expand_as(self._truth))
        return self._of_weighted(gradient)

    def overlap(self) -> tuple[Tensor, Tensor, Tensor]:
        """(images, classes) each: see `Measures`."""
        each = self._of_counted(self._probabilities.gather(1, self._truth))
        overlap = torch.zeros_like(self._probabilities).scatter_(1, self._truth, each)
        counted = self._probabilities if self._counted is None else self._probabilities * self._counted
        found = (overlap, counted, self._hot())
        first, second, third = (part.sum((0, 3)).t().contiguous() for part in found)
        return first, second, third

    def overlap_gradient(self, by_overlap: Tensor | None, by_predicted: Tensor | None) -> Tensor:
        """Of the logits, from the gradients (images, classes) of the overlap and of what is predicted."""
        found = torch.zeros_like(self._probabilities)
        if by_overlap is not None:
            found += self._hot() * by_overlap.t().unsqueeze(-1)
        if by_predicted is not None:
            found += by_predicted.t().unsqueeze(-1)
        found = self._of_counted(found) * self._probabilities
        return found - self._probabilities * found.sum(1, keepdim=True)

    def shrunk(self, gradient: Tensor) -> Tensor:
        """The gradient of the small maps, from that of the enlarged ones."""
        images, classes, height, width = self._small
        columns = torch.mm(self._down.t(), gradient.view(len(gradient), -1))
        small = torch.mm(columns.view(-1, gradient.shape[-1]), self._across)
        return small.view(height, classes, images, width).permute(2, 1, 0, 3)

    def _hot(self) -> Tensor:
        """1 at the true class of each counted pixel, else 0."""
        one = self._of_counted(torch.ones_like(self._right))
        return torch.zeros_like(self._probabilities).scatter_(1, self._truth, one)

    def _of_weighted(self, values: Tensor) -> Tensor:
        return self._of_counted(values) if self._weights is None else values.mul_(self._weights)

    def _of_counted(self, values: Tensor) -> Tensor:
        return values if self._counted is None else values.mul_(self._counted)


def _as_rows(target: Tensor) -> Tensor:
    """(images, H, W) -> (H, 1, images, W)"""
    return target.transpose(0, 1).unsqueeze(1)
