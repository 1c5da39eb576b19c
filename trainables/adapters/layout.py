"""The layout of a model: its transformer blocks, and the role of each linear layer.

Names differ by architecture (YOLOS `query`, ViT `q_proj`), so they are found by inspection: a block
is the innermost list entry around attention layers, and the layer's name inside it gives its role.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from trainables.adapters.block_span import resolve_span, span_fault
from trainables.errors import AdapterError
from trainables.specs.adapters import Role


def _ends(names: str) -> re.Pattern[str]:
    return re.compile(rf"(?:^|\.)(?:{names})$")


_ROLES: dict[Role, tuple[bool, re.Pattern[str]]] = {
    Role.QUERY: (True, _ends(r"query|q_proj|q_lin|to_q|wq|q|q_content_proj|\w+_query_content_proj")),
    Role.KEY: (True, _ends(r"key|k_proj|k_lin|to_k|wk|k|k_content_proj|\w+_key_content_proj")),
    Role.VALUE: (True, _ends(r"value|v_proj|v_lin|to_v|wv|v|(?:\w+_)?value_proj")),
    Role.OUTPUT: (True, _ends(r"o_proj|out_proj|output\.dense|dense|output_proj|out_lin|to_out\.0|proj|wo")),
    Role.MLP_IN: (False, _ends(r"fc1|intermediate\.dense|lin1|linear1|up_proj|weights_in|wi|mlp\.layers\.0")),
    Role.MLP_OUT: (False, _ends(r"fc2|output\.dense|lin2|linear2|down_proj|weights_out|wo|mlp\.layers\.1")),
}
"""Role -> (inside attention?, the end of the layer's name).

Conditional and DAB-DETR decoders project content and position separately; the role is the content layer's.
"""


@dataclass(frozen=True)
class Layout:
    """The module names of a model, relative to the inspected root.

    blocks: transformer blocks in order (of a DETR-like model the encoder's, then the decoder's).
    linears: for each role the model has, its layers in order.
    norms: the blocks' normalisation layers.
    hidden: width of a token; inner: width between the two MLP layers (0 if there is no MLP).
    """

    blocks: tuple[str, ...]
    linears: dict[Role, tuple[str, ...]]
    norms: tuple[str, ...]
    hidden: int
    inner: int

    def block_of(self, name: str) -> int | None:
        """The number of the block that a module or parameter is in; None outside the blocks."""
        for number, block in enumerate(self.blocks):
            if name == block or name.startswith(block + "."):
                return number
        return None

    def targets(self, roles: Sequence[Role], span: tuple[int, int] | None = None) -> tuple[str, ...]:
        """The layers with these roles in the blocks of `span` (first and last included), in model order.

        Negative numbers in `span` count from the last block.
        Raises AdapterError for a role that the model lacks, or a span outside its blocks.
        """
        missing = [role for role in roles if not self.linears.get(role)]
        if missing:
            raise AdapterError(
                f"targets: this model has no linear layer with the role {' or '.join(missing)}; "
                f"use {', '.join(r for r, names in self.linears.items() if names)}"
            )
        first, last = self._within(span)
        chosen = [
            (number, name)
            for role in roles
            for name in self.linears[role]
            if (number := self.block_of(name)) is not None and first <= number <= last
        ]
        if not chosen:
            raise AdapterError(
                f"targets: no layer with the role {' or '.join(roles)} in blocks {first} to {last}"
            )
        return tuple(name for _, name in sorted(chosen, key=lambda pair: pair[0]))

    def norms_in(self, span: tuple[int, int] | None = None) -> tuple[str, ...]:
        """The normalisation layers of the blocks in `span`. Raises AdapterError outside the blocks."""
        first, last = self._within(span)
        return tuple(n for n in self.norms if first <= (self.block_of(n) or 0) <= last)

    def under(self, prefix: str) -> Layout:
        """The same layout relative to a root in which this model is the submodule `prefix`."""

        def named(names: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(f"{prefix}.{name}" if name else prefix for name in names) if prefix else names

        linears = {role: named(names) for role, names in self.linears.items()}
        return Layout(named(self.blocks), linears, named(self.norms), self.hidden, self.inner)

    def _within(self, span: tuple[int, int] | None) -> tuple[int, int]:
        count = len(self.blocks)
        if span is None:
            return 0, count - 1
        if (fault := span_fault(span, count)) is not None:
            raise AdapterError(fault)
        return resolve_span(span, count)


def layout_of(model: nn.Module) -> Layout:
    """Inspect `model`, with or without an adapter. Raises AdapterError if it has no transformer blocks."""
    modules = dict(_plain_modules(model))
    linears = {name: module for name, module in modules.items() if isinstance(module, nn.Linear)}
    blocks = _blocks(model, linears)
    if not blocks:
        raise AdapterError(
            f"{type(model).__name__} has no transformer blocks (no list of modules with attention layers); "
            "use a vision transformer with separate query, key and value layers"
        )
    found: dict[Role, list[str]] = {role: [] for role in _ROLES}
    for name in linears:
        block = next((b for b in blocks if name.startswith(b + ".")), None)
        role = None if block is None else _role(name[len(block) + 1 :])
        if role is not None:
            found[role].append(name)
    found = {role: _that_run(names, linears, blocks) for role, names in found.items()}
    norms = tuple(
        name
        for name, module in modules.items()
        if "norm" in type(module).__name__.lower()
        and getattr(module, "weight", None) is not None
        and any(name.startswith(b + ".") for b in blocks)
    )
    return Layout(
        blocks=tuple(blocks),
        linears={role: tuple(names) for role, names in found.items() if names},
        norms=norms,
        hidden=_width(linears, found, blocks),
        inner=linears[found[Role.MLP_IN][0]].out_features if found[Role.MLP_IN] else 0,
    )


def _plain_modules(model: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Modules by their names before adaptation: for an adapted layer, the layer that it wraps."""
    while isinstance(wrapped := getattr(model, "base_layer", None), nn.Module):
        model = wrapped
    yield prefix, model
    for name, child in model.named_children():
        yield from _plain_modules(child, f"{prefix}.{name}" if prefix else name)


def _blocks(model: nn.Module, linears: dict[str, nn.Linear]) -> list[str]:
    lists = {n for n, m in _plain_modules(model) if isinstance(m, nn.ModuleList | nn.Sequential)}
    blocks: dict[str, None] = {}
    for name in linears:
        parts = name.split(".")
        for end in range(len(parts) - 1, 0, -1):
            if ".".join(parts[: end - 1]) in lists and _in_attention(parts[end:]):
                blocks[".".join(parts[:end])] = None
                break
    return list(blocks)


def _in_attention(parts: list[str]) -> bool:
    return any("att" in part.lower() for part in parts)


def _role(inside: str) -> Role | None:
    parts = inside.split(".")
    for role, (attention, end) in _ROLES.items():
        if attention == _in_attention(parts) and end.search(inside):
            return role
    return None


def _that_run(names: list[str], linears: dict[str, nn.Linear], blocks: list[str]) -> list[str]:
    """Without layers whose weights `nn.MultiheadAttention` reads, in blocks that have another of the role."""
    read = {name for name in names if isinstance(linears[name], NonDynamicallyQuantizableLinear)}
    others = {block for block in blocks for n in names if n not in read and n.startswith(block + ".")}
    return [n for n in names if n not in read or not any(n.startswith(block + ".") for block in others)]


def _width(linears: dict[str, nn.Linear], found: dict[Role, list[str]], blocks: list[str]) -> int:
    for role in (Role.QUERY, Role.VALUE):
        if found[role]:
            return linears[found[role][0]].in_features
    return next(m.in_features for n, m in linears.items() if n.startswith(blocks[0] + "."))
