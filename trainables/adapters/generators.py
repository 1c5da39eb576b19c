"""Random generators that an adapter's layers hold themselves, such as PVeRA's with `generator_seed`.

The engine seeds torch's own generator before each step. These it cannot seed, so their states belong to a
trial's state.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn


def held_generators(model: nn.Module) -> dict[str, torch.Generator]:
    """The generators in the attributes of the model's modules, also inside dicts and lists, by their path."""
    return {
        path: generator
        for name, module in model.named_modules()
        for attribute, value in vars(module).items()
        if not attribute.startswith("_")
        for path, generator in _inside(value, f"{name}.{attribute}")
    }


def _inside(value: Any, path: str) -> Iterator[tuple[str, torch.Generator]]:
    if isinstance(value, torch.Generator):
        yield path, value
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from _inside(part, f"{path}.{key}")
    elif isinstance(value, list | tuple):
        for number, part in enumerate(value):
            yield from _inside(part, f"{path}.{number}")
