"""Images known by their shape and by what an early part of a model has computed of them.

A model that continues from hidden states still takes images, for their size. In their place it gets a tensor
on the device `meta`, which has a shape but no pixels, and which carries the hidden states: they reach the
model's embeddings without an argument that every model would have to pass on.
"""

from __future__ import annotations

from torch import Tensor, empty

_HIDDEN = "_hidden_states"


def stand_in_for(images: Tensor, hidden: Tensor) -> Tensor:
    """A float32 tensor of the shape of `images` that carries `hidden`."""
    shape = empty(images.shape, device="meta")
    setattr(shape, _HIDDEN, hidden)
    return shape


def hidden_behind(images: object) -> Tensor | None:
    """The hidden states that `images` stand for; None for real images."""
    hidden: Tensor | None = getattr(images, _HIDDEN, None)
    return hidden
