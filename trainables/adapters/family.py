"""The properties of an adapter family; `registry` lists the families by their names in `Adapter`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from peft import PeftConfig
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from torch import Tensor, nn

from trainables.adapters.layout import Layout
from trainables.specs.trial import TrialConfig

ADAPTER_NAME = "default"
"""The name that PEFT stores the adapter's weights under."""

Exported = tuple[PeftConfig, dict[str, Tensor]]
"""PEFT's configuration with the name of every adapted layer, and the tensors that belong to it."""


class TrainingHook:
    """The actions of an adapter in training besides its forward pass; by default none."""

    def __init__(self, tuner: BaseTuner | None) -> None:
        """tuner: PEFT's tuner, where some methods store shared tensors; None without an adapter."""
        self._tuner: Any = tuner

    def penalty(self) -> Tensor | None:
        """A weighted term to add once to an optimizer step's loss, or None."""
        return None

    def after_step(self, step: int) -> None:
        """Call this after each optimizer step, before gradients are cleared. step: steps done, from 1."""

    def ranks(self) -> dict[str, int]:
        """The current rank of each adapted layer, if its method has ranks."""
        found = {}
        for name, layer in self._tuner.model.named_modules() if self._tuner is not None else ():
            rank = getattr(layer, "r", None) if isinstance(layer, BaseTunerLayer) else None
            if isinstance(rank, dict) and isinstance(rank.get(ADAPTER_NAME), int):
                found[name] = rank[ADAPTER_NAME]
        return found

    def state(self) -> dict[str, Tensor]:
        """The state that a resumed trial needs besides the adapter's tensors: a flat dict of tensors."""
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Continue from `state()`."""


def _nothing(model: nn.Module, config: TrialConfig, layout: Layout, kept: Kept | None) -> None:
    pass


def _no_faults(config: TrialConfig, layout: Layout) -> list[str]:
    return []


def _name(config: TrialConfig) -> str:
    return config.adapter


@dataclass(frozen=True)
class Kept:
    """What a checkpoint says of the adapter that it belongs to.

    ranks: of each layer that LoRA adapts: some initialisations redistribute them.  names: of its tensors.
    """

    ranks: Mapping[str, int]
    names: frozenset[str]


@dataclass(frozen=True)
class AdapterFamily:
    """How an adapter family is injected into a model, trained, and exported.

    A PEFT method that needs no special treatment only has its `peft_config`.
    """

    peft_config: Callable[[TrialConfig, Layout, int], PeftConfig | None]
    """PEFT's configuration for exactly the layers that a trial adapts, given its optimizer steps.

    None for no adapter. Raises AdapterError if it does not fit the model.
    """
    faults: Callable[[TrialConfig, Layout], list[str]] = _no_faults
    """What a new trial is refused for; a trial that has run is rebuilt all the same."""
    after_injection: Callable[[nn.Module, TrialConfig, Layout, Kept | None], None] = _nothing
    """Changes the model after PEFT has injected its layers. Kept: of a trial that is rebuilt."""
    hook: Callable[[BaseTuner | None], TrainingHook] = TrainingHook
    """Makes the adapter's training hook from PEFT's tuner."""
    may_rewrite: bool = False
    """Whether the method may overwrite the weights that it adapts, which trials share."""
    exported: Callable[[Any, Mapping[str, Any], dict[str, Tensor]], Exported] | None = None
    """Converts the trained adapter exactly into a method of PEFT; None if it is one already.

    Takes the family's settings, the adapted layers by name, and the adapter's tensors on the CPU.
    """
    title: Callable[[TrialConfig], str] = _name
    """The adapter's name in messages."""


def over_targets(build: Callable[[Any, list[str]], PeftConfig]) -> Callable[..., PeftConfig]:
    """The `peft_config` of a family that only needs its settings and the names of the layers."""

    def peft_config(config: TrialConfig, layout: Layout, total_steps: int) -> PeftConfig:
        return build(config.section, list(layout.targets(config.roles, config.blocks)))

    return peft_config
