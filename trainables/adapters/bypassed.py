"""Layers whose model reads their weights instead of running them, so that an adapter would do nothing."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from trainables.errors import AdapterError

_READERS: tuple[tuple[type[nn.Module], str], ...] = (
    (nn.MultiheadAttention, "always"),
    # In training it runs its layers; in evaluation it hands their weights to one fused function.
    (nn.TransformerEncoderLayer, "in evaluation"),
)


def check_not_bypassed(model: nn.Module, targets: Iterable[str]) -> None:
    """Raise AdapterError for a target inside a torch module that would bypass the adapter.

    The gradient audit finds such layers in modules of any other class.
    """
    for target in sorted(targets):
        names = target.split(".")
        for end in range(len(names) - 1, -1, -1):
            reader = model.get_submodule(".".join(names[:end]))
            for kind, when in _READERS:
                if isinstance(reader, kind):
                    raise AdapterError(
                        f"targets: {target} is inside torch.nn.{kind.__name__}, which {when} reads the"
                        " layer's weights without running it, so an adapter there would have no effect;"
                        " choose targets without this layer"
                    )
