"""Sets which parameters train, by freezing mode and epoch: adapter, head, backbone.

| mode        | adapter | head   | backbone                          |
|-------------|---------|--------|-----------------------------------|
| head_only   | none    | trains | frozen                            |
| frozen      | trains  | trains | frozen                            |
| unfrozen    | trains  | trains | trains, less the frozen blocks    |
| full        | none    | trains | trains, less the frozen blocks    |
| unfreeze_at | trains  | trains | frozen, from epoch k as unfrozen  |

With `freeze_head` the head is frozen in any of the modes that have an adapter.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from trainables.adapters.layout import Layout
from trainables.specs.adapters import TRAINS_BACKBONE, Freezing
from trainables.specs.trial import TrialConfig


@dataclass(frozen=True)
class Parts:
    """A model's parameters in groups, with their names in the model; each tensor once.

    adapter: trains in every mode that has one.  head: trains, unless `freeze_head`.
    backbone: trains according to the mode.
    fixed: parameters of an adapter that never train (AdaLoRA's `ranknum`, random projections).
    depth: for a backbone parameter, the number of `frozen_blocks` that freezes it:
    i + 1 in block i, 1 for embeddings, more than the number of blocks for layers after the blocks.
    backbone_buffers: names of buffers that do not belong to the head.
    norms: the backbone's layers with running statistics, with their depths.  head_norms: the head's.
    """

    adapter: dict[str, nn.Parameter]
    head: dict[str, nn.Parameter]
    backbone: dict[str, nn.Parameter]
    fixed: dict[str, nn.Parameter]
    depth: dict[str, int]
    backbone_buffers: frozenset[str]
    norms: tuple[tuple[int, nn.Module], ...]
    head_norms: tuple[nn.Module, ...]

    def movable(self, config: TrialConfig) -> dict[str, nn.Parameter]:
        """Backbone parameters that train with `config`, from the start or from a later epoch."""
        if config.mode not in TRAINS_BACKBONE:
            return {}
        return {n: p for n, p in self.backbone.items() if self.depth[n] > config.frozen_blocks}

    def frozen_modules(self, config: TrialConfig, epoch: float) -> list[nn.Module]:
        """Layers that stay in evaluation mode in training: frozen layers with running statistics."""
        frozen_to = config.frozen_blocks if backbone_trains(config, epoch) else float("inf")
        still = [module for depth, module in self.norms if depth <= frozen_to]
        return [*still, *self.head_norms] if config.freeze_head else still


def backbone_trains(config: TrialConfig, epoch: float) -> bool:
    """Whether backbone weights train in `epoch` (counted from 0)."""
    if config.mode is Freezing.UNFREEZE_AT:
        return config.unfreeze_epoch is not None and epoch >= config.unfreeze_epoch
    return config.mode in TRAINS_BACKBONE


def apply_freezing(parts: Parts, config: TrialConfig, epoch: float) -> None:
    """Set `requires_grad` of every parameter for an epoch. Cheap enough to call before each step."""
    moves = parts.movable(config) if backbone_trains(config, epoch) else {}
    for parameter in parts.adapter.values():
        parameter.requires_grad_(True)
    for parameter in parts.head.values():
        parameter.requires_grad_(not config.freeze_head)
    for parameter in parts.fixed.values():
        parameter.requires_grad_(False)
    for name, parameter in parts.backbone.items():
        parameter.requires_grad_(name in moves)


def count_parameters(parts: Parts, config: TrialConfig, *, still: Collection[str] = ()) -> dict[str, int]:
    """Numbers of weights that train, at the start or later: adapter, head, backbone; `total` counts all.

    still: names of parameters that are set to train but have no gradient; only `total` counts them.
    """

    def count(group: dict[str, nn.Parameter], less: Collection[str] = ()) -> int:
        return sum(p.numel() for name, p in group.items() if name not in less)

    everything = count(parts.adapter) + count(parts.head) + count(parts.backbone) + count(parts.fixed)
    return {
        "adapter": count(parts.adapter, still),
        "head": 0 if config.freeze_head else count(parts.head, still),
        "backbone": count(parts.movable(config), still),
        "total": everything,
    }


def parts_of(model: nn.Module, *, base: Collection[int], head: Collection[str], layout: Layout) -> Parts:
    """Group an adapted model's parameters, before `apply_freezing` is called.

    base: ids of the parameters that it had before `inject_adapter`.  head: names of the head's parameters.
    layout: of the model, for the depth of backbone parameters.
    """
    adapter: dict[str, nn.Parameter] = {}
    heads: dict[str, nn.Parameter] = {}
    backbone: dict[str, nn.Parameter] = {}
    fixed: dict[str, nn.Parameter] = {}
    for name, parameter in model.named_parameters():
        if id(parameter) not in base:
            (adapter if parameter.requires_grad else fixed)[name] = parameter
        elif name in head:
            heads[name] = parameter
        else:
            backbone[name] = parameter
    depth_of = _depth(list(backbone), layout)
    in_head = {name.rpartition(".")[0] for name in head}
    return Parts(
        adapter=adapter,
        head=heads,
        backbone=backbone,
        fixed=fixed,
        depth={name: depth_of(name) for name in backbone},
        backbone_buffers=frozenset(
            name for name, _ in model.named_buffers() if name.rpartition(".")[0] not in in_head
        ),
        norms=tuple((depth_of(name), module) for name, module in _running(model) if name not in in_head),
        head_norms=tuple(module for name, module in _running(model) if name in in_head),
    )


def _running(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and module.track_running_stats:
            yield name, module


def _depth(names: list[str], layout: Layout) -> Callable[[str], int]:
    """The depth by name; layers before the blocks and all position or token embeddings have depth 1."""

    first = next((i for i, name in enumerate(names) if layout.block_of(name) is not None), len(names))
    before = {part for name in names[:first] for part in _prefixes(name)}

    def depth(name: str) -> int:
        block = layout.block_of(name)
        if block is not None:
            return block + 1
        early = "embed" in name.lower() or name in before
        return 1 if early else len(layout.blocks) + 1

    return depth


def _prefixes(name: str) -> Iterator[str]:
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        yield ".".join(parts[:end])
