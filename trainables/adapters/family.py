"""What sets one family of adapters apart; `registry` lists the families by their names in `Adapter`."""

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
"""The name under which PEFT keeps the adapter's weights."""

Exported = tuple[PeftConfig, dict[str, Tensor]]
"""PEFT's configuration with every adapted layer by name, and the tensors that belong to it."""


class TrainingHook:
    """What an adapter does in training besides its forward pass; by default nothing."""

    def __init__(self, tuner: BaseTuner | None) -> None:
        """tuner: PEFT's, some methods keep tensors that their layers share on it; None without an adapter."""
        self._tuner: Any = tuner

    def penalty(self) -> Tensor | None:
        """A term to add once to an optimizer step's loss, weighted; None where there is none."""
        return None

    def after_step(self, step: int) -> None:
        """To be called after each optimizer step, while gradients are there. step: steps done, from 1."""

    def ranks(self) -> dict[str, int]:
        """The current rank of each adapted layer, where its method has one."""
        found = {}
        for name, layer in self._tuner.model.named_modules() if self._tuner is not None else ():
            rank = getattr(layer, "r", None) if isinstance(layer, BaseTunerLayer) else None
            if isinstance(rank, dict) and isinstance(rank.get(ADAPTER_NAME), int):
                found[name] = rank[ADAPTER_NAME]
        return found

    def state(self) -> dict[str, Tensor]:
        """What a resumed trial needs besides the adapter's tensors: a flat dict of tensors."""
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Continue from `state()`."""


def _nothing(model: nn.Module, config: TrialConfig, layout: Layout) -> None:
    pass


def _name(config: TrialConfig) -> str:
    return config.adapter


@dataclass(frozen=True)
class AdapterFamily:
    """How a family of adapters gets into a model, is trained, and leaves it.

    A method that PEFT has, and that needs no special care, is its `peft_config` alone.
    """

    peft_config: Callable[[TrialConfig, Layout, int], PeftConfig | None]
    """PEFT's configuration over exactly the layers that a trial names, by its optimizer steps.

    None for no adapter. Raises AdapterError where it does not fit the model.
    """
    after_injection: Callable[[nn.Module, TrialConfig, Layout], None] = _nothing
    """Changes the model once PEFT has put its layers in."""
    hook: Callable[[BaseTuner | None], TrainingHook] = TrainingHook
    """What the adapter does in training, from PEFT's tuner."""
    may_rewrite: bool = False
    """Whether the method may rewrite the weights that it adapts, which trials share."""
    exported: Callable[[Any, Mapping[str, Any], dict[str, Tensor]], Exported] | None = None
    """Converts what was trained into a method of PEFT's, exactly; None where it is one already.

    Takes the family's settings, the adapted layers by name, and the adapter's tensors on the CPU.
    """
    title: Callable[[TrialConfig], str] = _name
    """What messages call it."""


def over_targets(build: Callable[[Any, list[str]], PeftConfig]) -> Callable[..., PeftConfig]:
    """The `peft_config` of a family that needs its settings and the names of the layers alone."""

    def peft_config(config: TrialConfig, layout: Layout, total_steps: int) -> PeftConfig:
        return build(config.section, list(layout.targets(config.roles, config.blocks)))

    return peft_config
