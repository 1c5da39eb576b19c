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
    constant: names of backbone parameters that never train.
    backbone_buffers: names of buffers that do not belong to the head.
    still: the modules that are in evaluation mode in training if the backbone is frozen, with their depths.
    head_still: the same for the head.
    """

    adapter: dict[str, nn.Parameter]
    head: dict[str, nn.Parameter]
    backbone: dict[str, nn.Parameter]
    fixed: dict[str, nn.Parameter]
    depth: dict[str, int]
    constant: frozenset[str]
    backbone_buffers: frozenset[str]
    still: tuple[tuple[int, nn.Module], ...]
    head_still: tuple[nn.Module, ...]

    def movable(self, config: TrialConfig) -> dict[str, nn.Parameter]:
        """Backbone parameters that train with `config`, from the start or from a later epoch."""
        if config.mode not in TRAINS_BACKBONE:
            return {}
        return {
            name: parameter
            for name, parameter in self.backbone.items()
            if self.depth[name] > config.frozen_blocks and name not in self.constant
        }

    def frozen_modules(self, config: TrialConfig, epoch: float) -> list[nn.Module]:
        """The modules that are in evaluation mode in training; those inside them may not be."""
        frozen_to = config.frozen_blocks if backbone_trains(config, epoch) else float("inf")
        still = [module for depth, module in self.still if depth <= frozen_to]
        return [*still, *self.head_still] if config.freeze_head else still


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


@dataclass(frozen=True)
class Base:
    """A model before an adapter is injected.

    parameters, modules: ids of those that it has.  head: names of the head's parameters.  constant: names of
    parameters that never train.  training: names of modules that stay in training mode, see
    `TaskModel.training_modules`; None: of frozen parts, only layers with running statistics are in
    evaluation mode, so that dropout is not, as in the first definition of a frozen backbone.
    """

    parameters: frozenset[int]
    modules: frozenset[int]
    head: frozenset[str]
    constant: frozenset[str] = frozenset()
    training: frozenset[str] | None = frozenset()

    @classmethod
    def of(
        cls,
        model: nn.Module,
        *,
        head: Collection[str],
        constant: Collection[str] = (),
        training: Collection[str] | None = (),
    ) -> Base:
        """Those of `model`."""
        return cls(
            frozenset(map(id, model.parameters())),
            frozenset(map(id, model.modules())),
            frozenset(head),
            frozenset(constant),
            None if training is None else frozenset(training),
        )


def parts_of(model: nn.Module, base: Base, layout: Layout) -> Parts:
    """Group an adapted model's parameters, before `apply_freezing` is called.

    base: of the model before the adapter.  layout: of the model, for the depth of backbone parameters.
    """
    adapter: dict[str, nn.Parameter] = {}
    heads: dict[str, nn.Parameter] = {}
    backbone: dict[str, nn.Parameter] = {}
    fixed: dict[str, nn.Parameter] = {}
    for name, parameter in model.named_parameters():
        if id(parameter) not in base.parameters:
            (adapter if parameter.requires_grad else fixed)[name] = parameter
        elif name in base.head:
            heads[name] = parameter
        else:
            backbone[name] = parameter
    depth_of = _depth(list(backbone), layout)
    in_head = {name.rpartition(".")[0] for name in base.head}
    still, head_still = _still(model, base, depth_of)
    return Parts(
        adapter=adapter,
        head=heads,
        backbone=backbone,
        fixed=fixed,
        depth={name: depth_of(name) for name in backbone},
        constant=base.constant,
        backbone_buffers=frozenset(
            name for name, _ in model.named_buffers() if name.rpartition(".")[0] not in in_head
        ),
        still=still,
        head_still=head_still,
    )


def _still(
    model: nn.Module, base: Base, depth_of: Callable[[str], int]
) -> tuple[tuple[tuple[int, nn.Module], ...], tuple[nn.Module, ...]]:
    """The backbone's and the head's modules for evaluation mode; an adapter's own modules are in neither."""
    heads = tuple(f"{name}." for name in head_modules(model, base.head))
    backbone: list[tuple[int, nn.Module]] = []
    head: list[nn.Module] = []
    for name, module in model.named_modules():
        if id(module) not in base.modules:
            continue
        running = isinstance(module, _BatchNorm) and module.track_running_stats
        if base.training is None and not running:
            continue
        if f"{name}.".startswith(heads):
            head.append(module)
        elif base.training is None or name not in base.training:
            backbone.append((depth_of(name), module))
    return tuple(backbone), tuple(head)


def head_modules(model: nn.Module, head: Collection[str]) -> list[str]:
    """The names of the outermost modules whose parameters all belong to the head.

    head: names of the head's parameters.
    """
    found: list[str] = []
    own_names = frozenset(head)
    for name, module in model.named_modules():
        inside = [f"{name}.{own}" for own, _ in module.named_parameters()]
        listed = isinstance(module, nn.ModuleList)
        if inside and not listed and own_names.issuperset(inside) and not name.startswith(tuple(found)):
            found.append(f"{name}.")
    return [name[:-1] for name in found]


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
