"""YOLOS without the work that changes no output: a detector reads its detection tokens alone.

The last layer computes queries and the feed-forward network for the detection tokens only; keys and values
come from all tokens. Positions are interpolated only for images of another size than the checkpoint's.
Parameters, their names and gradients, and the model's outputs stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

_every_token: ContextVar[bool] = ContextVar("every_token", default=False)


@contextmanager
def every_token() -> Iterator[None]:
    """Let the last layers compute every token, for initial weights that depend on a layer's inputs (EVA)."""
    before = _every_token.set(True)
    try:
        yield
    finally:
        _every_token.reset(before)


def without_unread_tokens(model: Any) -> None:
    """Change the layers of a YOLOS of transformers; another model stays as it is."""
    if type(model).__name__ != "YolosForObjectDetection":
        return
    last, positions = model.vit.encoder.layer[-1], model.vit.embeddings.interpolation
    for module, part in ((last, _LastLayer), (positions, _Positions)):
        module.__class__ = type(part.__name__.strip("_"), (part, type(module)), {})


class _LastLayer(nn.Module):
    """A YolosLayer that returns the detection tokens only."""

    def forward(self, hidden_states: Tensor, **options: Any) -> Tensor:
        """(images, tokens, width) -> (images, detection tokens, width)."""
        if _every_token.get():
            every: Tensor = super().forward(hidden_states, **options)
            return every
        layer: Any = self
        inner = layer.attention.attention
        count = inner.config.num_detection_tokens
        read, normed = hidden_states[:, -count:], layer.layernorm_before(hidden_states)
        query, key, value = (
            tokens.view(len(tokens), -1, inner.num_attention_heads, inner.attention_head_size).transpose(1, 2)
            for tokens in (inner.query(normed[:, -count:]), inner.key(normed), inner.value(normed))
        )
        mixed = scaled_dot_product_attention(
            query, key, value, dropout_p=inner.dropout_prob if self.training else 0.0, scale=inner.scaling
        )
        mixed = mixed.transpose(1, 2).flatten(2)
        read = layer.attention.output(mixed, read) + read
        whole: Tensor = layer.output(layer.intermediate(layer.layernorm_after(read)), read)
        return whole


class _Positions(nn.Module):
    """Position embeddings that are interpolated for images of another size only."""

    def forward(self, pos_embed: Tensor, img_size: tuple[int, int]) -> Tensor:
        """(1, tokens, width) for images of (height, width) pixels."""
        own: Any = self
        if tuple(img_size) == tuple(own.config.image_size):
            return pos_embed
        found: Tensor = super().forward(pos_embed, img_size)
        return found
