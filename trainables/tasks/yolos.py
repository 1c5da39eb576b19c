"""YOLOS without the work that changes no output: a detector reads its detection tokens alone.

The last layer computes queries and the feed-forward network for the detection tokens only, unless an adapter
mixes tokens; keys and values come from all tokens. Positions are interpolated only for images of another
size than the checkpoint's. Layers call their linear layers and norms, which may be adapted, and nothing else.
Parameters, their names and gradients, and the model's outputs stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

TOKEN_BY_TOKEN = (
    *(f"peft.tuners.{method}." for method in ("lora", "adalora", "loha", "lokr", "gralora")),
    "torch.nn.",
    "trainables.",
)
"""Where layers are from that compute each token alone; LILY, for one, weighs its experts over all tokens."""


class _Reading:
    """What the last layers compute in this process; an attribute, as a compiled model must read it."""

    every_token = False


@contextmanager
def every_token() -> Iterator[None]:
    """Let the last layers compute every token, for initial weights that depend on a layer's inputs (EVA)."""
    before, _Reading.every_token = _Reading.every_token, True
    try:
        yield
    finally:
        _Reading.every_token = before


def without_unread_tokens(model: Any) -> None:
    """Change the layers of a YOLOS of transformers; another model stays as it is."""
    if type(model).__name__ != "YolosForObjectDetection":
        return
    *others, last = model.vit.encoder.layer
    _become(last, _LastLayer)
    for layer in others:
        _become(layer, _Layer)
    _become(model.vit.embeddings.interpolation, _Positions)


def _become(module: nn.Module, part: type[nn.Module]) -> None:
    module.__class__ = type(part.__name__.strip("_"), (part, type(module)), {})


class _Layer(nn.Module):
    """A YolosLayer in one function: calling its eight small modules takes as long as some products."""

    def forward(self, hidden_states: Tensor, **options: Any) -> Tensor:
        """(images, tokens, width) -> the same, or with the tokens that are read."""
        layer: Any = self
        inner, outer, mlp = layer.attention.attention, layer.attention.output, layer.output
        read = self.read(hidden_states)
        normed = layer.layernorm_before(hidden_states)
        query, key, value = (
            tokens.view(len(tokens), -1, inner.num_attention_heads, inner.attention_head_size).transpose(1, 2)
            for tokens in (inner.query(self.read(normed)), inner.key(normed), inner.value(normed))
        )
        mixed = scaled_dot_product_attention(
            query, key, value, dropout_p=inner.dropout_prob if self.training else 0.0, scale=inner.scaling
        )
        read = _dropped(outer.dense(mixed.transpose(1, 2).flatten(2)), outer.dropout) + read
        wide = layer.intermediate.dense(layer.layernorm_after(read))
        narrow = mlp.dense(layer.intermediate.intermediate_act_fn(wide))
        return _dropped(narrow, mlp.dropout) + read

    def read(self, tokens: Tensor) -> Tensor:
        """The tokens that the next layers read: all."""
        return tokens


def _dropped(tokens: Tensor, dropout: nn.Module) -> Tensor:
    dropped: Tensor = dropout(tokens) if dropout.p and dropout.training else tokens
    return dropped


class _LastLayer(_Layer):
    """The last layer, which returns the detection tokens only."""

    def read(self, tokens: Tensor) -> Tensor:
        """The detection tokens; all if they are asked for, or if an adapter may mix tokens."""
        layer: Any = self
        inner = layer.attention.attention
        fewer = (inner.query, layer.attention.output.dense, layer.intermediate.dense, layer.output.dense)
        if _Reading.every_token or not all(_token_by_token(type(module).__module__) for module in fewer):
            return tokens
        return tokens[:, -inner.config.num_detection_tokens :]


@cache
def _token_by_token(module: str) -> bool:
    """Whether linear layers, adapted or not, that are defined in `module` compute each token alone."""
    return f"{module}.".startswith(TOKEN_BY_TOKEN)


class _Positions(nn.Module):
    """Position embeddings that are interpolated for images of another size only."""

    def forward(self, pos_embed: Tensor, img_size: tuple[int, int]) -> Tensor:
        """(1, tokens, width) for images of (height, width) pixels."""
        own: Any = self
        if tuple(img_size) == tuple(own.config.image_size):
            return pos_embed
        found: Tensor = super().forward(pos_embed, img_size)
        return found
