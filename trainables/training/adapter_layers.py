"""What the gradient audit watches in adapted layers: whether they run, and state that no checkpoint has."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftConfig
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

_OF_MODULES = frozenset(vars(nn.Module()))
"""The attributes of every module: parameters, buffers, hooks."""


class LayerCalls:
    """Notes which adapted layers of a model run."""

    def __init__(self, model: nn.Module) -> None:
        self._called: set[str] = set()
        self._names = []
        for name, layer in model.named_modules():
            if isinstance(layer, BaseTunerLayer):
                self._names.append(name)
                # Not a forward hook: torch's fused functions are not used where there are hooks.
                layer.forward = _Noted(name, layer.forward, self._called)

    def idle(self) -> list[str]:
        """The layers that have not run since the last call of `idle`, in model order."""
        found = [name for name in self._names if name not in self._called]
        self._called.clear()
        return found


@dataclass(frozen=True)
class _Noted:
    name: str
    forward: Callable[..., Any]
    called: set[str]

    def __call__(self, *args: Any, **options: Any) -> Any:
        self.called.add(self.name)
        return self.forward(*args, **options)


def hidden_state(model: nn.Module) -> dict[str, Any]:
    """What adapted layers keep besides parameters, buffers and generators: numbers and tensors, by path."""
    return {
        path: value
        for name, layer in model.named_modules()
        if isinstance(layer, BaseTunerLayer)
        for below, module in layer.named_modules(prefix=name)
        if not below.startswith(f"{name}.base_layer")
        for attribute, held in vars(module).items()
        if attribute not in _OF_MODULES
        for path, value in _values(held, f"{below}.{attribute}", set())
    }


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The paths of values that differ."""
    return sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))


def _values(held: Any, path: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    if isinstance(held, int | float | str):
        yield path, held
        return
    if id(held) in seen or isinstance(held, nn.Module | nn.Parameter | PeftConfig | torch.Generator):
        return
    seen.add(id(held))
    if isinstance(held, torch.Tensor):
        # A tensor that is written in place has a new version; the tensor itself keeps its id in use.
        yield path, _Version(held, held._version)
    elif isinstance(held, dict):
        for key, part in held.items():
            yield from _values(part, f"{path}.{key}", seen)
    elif isinstance(held, list | tuple):
        for number, part in enumerate(held):
            yield from _values(part, f"{path}.{number}", seen)
    elif type(held).__module__.startswith("peft.") and hasattr(held, "__dict__"):
        yield from _values(vars(held), path, seen)


@dataclass(frozen=True, eq=False)
class _Version:
    tensor: torch.Tensor
    number: int

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Version) and self.tensor is other.tensor and self.number == other.number

    __hash__ = None  # type: ignore[assignment]
