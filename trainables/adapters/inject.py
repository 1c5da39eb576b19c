"""Puts an adapter into a model, in place, and keeps what belongs to it beside the weights."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from peft import AdaLoraModel, PeftConfig
from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from torch import Tensor, nn

from trainables.adapters.adalora import RankAllocation
from trainables.adapters.layout import Layout
from trainables.adapters.registry import peft_config
from trainables.adapters.serial_lora import share_pairs
from trainables.errors import AdapterError
from trainables.specs.adapters import Adapter, SerialLoraSpec
from trainables.specs.trial import TrialConfig

ADAPTER_NAME = "default"
"""The name under which PEFT keeps the adapter's weights."""
_FIXED = "fixed/"


class Adapted:
    """An adapter inside a model. Its parameters and `state()` are all that a checkpoint needs of it."""

    def __init__(self, model: nn.Module, config: PeftConfig | None, tuner: BaseTuner | None, base: set[int]):
        """base: ids of the tensors that the model had before."""
        self.model = model
        self.config = config
        """PEFT's configuration; None for adapter `none`."""
        self._tuner = tuner  # some methods keep tensors that their layers share on it
        own = [(name, p) for name, p in model.named_parameters() if id(p) not in base]
        self._trained = frozenset(name for name, p in own if p.requires_grad)
        # What the method brings along and never trains: random projections, masks, AdaLoRA's ranknum.
        self._fixed_parameters = frozenset(name for name, _ in own) - self._trained
        self._buffers = frozenset(name for name, b in model.named_buffers() if id(b) not in base)
        allocates = isinstance(tuner, AdaLoraModel)
        self._allocation = RankAllocation(tuner, ADAPTER_NAME) if allocates else None

    def parameter_names(self) -> set[str]:
        """Names in the model of the adapter's parameters that train; a shared one counts once."""
        return set(self._trained)

    def penalty(self) -> Tensor | None:
        """A term to add once to an optimizer step's loss, weighted; None where there is none."""
        return self._allocation.penalty() if self._allocation else None

    def after_step(self, step: int) -> None:
        """To be called after each optimizer step, while gradients are there. step: steps done, from 1."""
        if self._allocation:
            self._allocation.after_step(step)

    def ranks(self) -> dict[str, int]:
        """The current rank of each adapted layer, where its method has one."""
        if self._allocation:
            return self._allocation.ranks()
        found = {}
        for name, layer in self.model.named_modules():
            rank = getattr(layer, "r", None) if isinstance(layer, BaseTunerLayer) else None
            if isinstance(rank, dict) and isinstance(rank.get(ADAPTER_NAME), int):
                found[name] = rank[ADAPTER_NAME]
        return found

    def state(self) -> dict[str, Tensor]:
        """What a resumed trial needs beside the parameters that train: a flat dict of tensors."""
        fixed = {_FIXED + name: tensor.detach().clone() for name, tensor in self._fixed()}
        return fixed | (self._allocation.state() if self._allocation else {})

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Continue from `state()` of the same configuration."""
        with torch.no_grad():
            for name, tensor in self._fixed():
                tensor.copy_(state[_FIXED + name])
        if self._allocation:
            self._allocation.load_state(state)

    def _fixed(self) -> Iterator[tuple[str, Tensor]]:
        for name, parameter in self.model.named_parameters():
            if name in self._fixed_parameters:
                yield name, parameter
        for name, buffer in self.model.named_buffers():
            if name in self._buffers:
                yield name, buffer


def adapt(model: nn.Module, config: TrialConfig, layout: Layout, *, total_steps: int) -> Adapted:
    """Put the adapter of `config` into `model`, in place.

    layout: of `model`, names relative to it.  total_steps: optimizer steps of the trial, for AdaLoRA.
    Initial weights are drawn from torch's global generator. Tensors that the model has are neither
    written nor replaced, so it may share them with others; `requires_grad` stays as it was on them.
    Raises AdapterError where the adapter does not fit the model.
    """
    peft = peft_config(config, layout, total_steps)
    parameters = list(model.parameters())
    base = {id(tensor) for tensor in (*parameters, *model.buffers())}
    if peft is None:
        return Adapted(model, None, None, base)
    wanted = set(peft.target_modules)
    guarded = _guard(model, wanted) if config.adapter is Adapter.PEFT else []
    flags = [parameter.requires_grad for parameter in parameters]
    try:
        tuner = PEFT_TYPE_TO_TUNER_MAPPING[peft.peft_type](model, peft, adapter_name=ADAPTER_NAME)
    except Exception as error:  # whatever PEFT finds wrong is the user's to mend
        raise AdapterError(f"adapter '{_named(config)}' does not fit this model: {error}") from error
    finally:
        for parameter, flag in zip(parameters, flags, strict=True):
            parameter.requires_grad_(flag)
        rewritten = _restore(guarded)
    if rewritten:
        raise AdapterError(
            f"adapter '{_named(config)}' rewrites backbone weights when it is put in, "
            "and other trials share them; use another method, or another initialisation among its arguments"
        )
    if set(tuner.targeted_module_names) != wanted:
        extra = sorted(set(tuner.targeted_module_names) ^ wanted)
        raise AdapterError(
            f"adapter '{_named(config)}' would reach other layers than the targets: {', '.join(extra)}"
        )
    if isinstance(config.section, SerialLoraSpec) and config.section.shared:
        share_pairs(model, layout, ADAPTER_NAME)
    return Adapted(model, peft, tuner, base)


def _named(config: TrialConfig) -> str:
    return f"peft {config.peft.method}" if config.peft and config.adapter is Adapter.PEFT else config.adapter


def _guard(model: nn.Module, targets: set[str]) -> list[tuple[nn.Parameter, Tensor, Tensor]]:
    """Each target's parameters with their storage and a copy of its content.

    Some methods of the pass-through rewrite the weights that they adapt (PiSSA, OLoRA, KaSA).
    """
    return [
        (parameter, parameter.data, parameter.detach().clone())
        for name in sorted(targets)
        for parameter in model.get_submodule(name).parameters()
        if not parameter.is_meta
    ]


def _restore(guarded: list[tuple[nn.Parameter, Tensor, Tensor]]) -> bool:
    """Put back what was rewritten; whether anything was."""
    rewritten = False
    for parameter, storage, copy in guarded:
        if not torch.equal(parameter.data, copy):
            rewritten = True
            parameter.data = storage.copy_(copy)
    return rewritten
