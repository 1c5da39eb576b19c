"""Inject an adapter into a model, in place, and save its state besides the weights."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from peft import PeftConfig
from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING
from torch import Tensor, nn

from trainables.adapters.bypassed import check_not_bypassed
from trainables.adapters.family import ADAPTER_NAME, Kept, TrainingHook
from trainables.adapters.from_images import Start, finish_lora, init_of, prepare_lora
from trainables.adapters.generators import held_generators
from trainables.adapters.layout import Layout
from trainables.adapters.registry import FAMILIES
from trainables.adapters.rules import check_adapter_fits
from trainables.errors import AdapterError
from trainables.specs.trial import TrialConfig

_FIXED = "fixed/"
_GENERATOR = "generator/"


class Adapted:
    """An adapter in a model. A checkpoint needs only its parameters and `state()`."""

    def __init__(
        self, model: nn.Module, config: PeftConfig | None, hook: TrainingHook, base: set[int]
    ) -> None:
        """base: ids of the tensors that the model had before the injection."""
        self.model = model
        self.config = config
        """PEFT's configuration; None for adapter `none`."""
        self._hook = hook
        own = [(name, p) for name, p in model.named_parameters() if id(p) not in base]
        self._trained = frozenset(name for name, p in own if p.requires_grad)
        # Tensors of the method that are never trained: random projections, masks, AdaLoRA's ranknum.
        self._fixed_parameters = frozenset(name for name, _ in own) - self._trained
        self._buffers = frozenset(name for name, b in model.named_buffers() if id(b) not in base)

    def parameter_names(self) -> set[str]:
        """The names in the model of the adapter's parameters that train; a shared one counts once."""
        return set(self._trained)

    def penalty(self) -> Tensor | None:
        """A weighted term to add once to an optimizer step's loss, or None."""
        return self._hook.penalty()

    def after_step(self, step: int) -> None:
        """Call this after each optimizer step, before gradients are cleared. step: steps done, from 1."""
        self._hook.after_step(step)

    def ranks(self) -> dict[str, int]:
        """The current rank of each adapted layer, if its method has ranks."""
        return self._hook.ranks()

    def state(self) -> dict[str, Tensor]:
        """The state that a resumed trial needs besides the trained parameters: a flat dict of tensors."""
        fixed = {_FIXED + name: tensor.detach().clone() for name, tensor in self._fixed()}
        drawn = {_GENERATOR + path: held.get_state() for path, held in held_generators(self.model).items()}
        return fixed | drawn | self._hook.state()

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Continue from `state()` of the same configuration."""
        with torch.no_grad():
            for name, tensor in self._fixed():
                tensor.copy_(state[_FIXED + name])
        for path, held in held_generators(self.model).items():
            if _GENERATOR + path in state:  # checkpoints of earlier versions have none
                held.set_state(state[_GENERATOR + path])
        self._hook.load_state(state)

    def _fixed(self) -> Iterator[tuple[str, Tensor]]:
        for name, parameter in self.model.named_parameters():
            if name in self._fixed_parameters:
                yield name, parameter
        for name, buffer in self.model.named_buffers():
            if name in self._buffers:
                yield name, buffer


def inject_adapter(
    model: nn.Module,
    config: TrialConfig,
    layout: Layout,
    *,
    total_steps: int,
    start: Start | None = None,
) -> Adapted:
    """Inject the adapter of `config` into `model`, in place.

    layout: of `model`, names relative to it.  total_steps: optimizer steps of the trial, for AdaLoRA.
    start: for initial weights that are computed from training images; see `from_images.prepare_lora`.
    Initial weights are drawn from torch's global generator. The model's own tensors are neither
    overwritten nor replaced, so other models may share them; their `requires_grad` does not change.
    Raises AdapterError if the adapter does not fit the model.
    """
    family = FAMILIES[config.adapter]
    kept = start if isinstance(start, Kept) else None
    if kept is None:
        _check_fits(config, layout, total_steps)
        if faults := family.faults(config, layout):
            raise AdapterError("; ".join(faults))
    peft = family.peft_config(config, layout, total_steps)
    parameters = list(model.parameters())
    base = {id(tensor) for tensor in (*parameters, *model.buffers())}
    if peft is None:
        return Adapted(model, None, family.hook(None), base)
    prepared = prepare_lora(model, peft, start) if init_of(peft) is not None else None
    if prepared is not None:
        peft = prepared.config
    wanted = set(peft.target_modules)
    if kept is None:
        check_not_bypassed(model, wanted)
    guarded = _guard(model, wanted) if family.may_rewrite or prepared is not None else []
    flags = [parameter.requires_grad for parameter in parameters]
    faster = _as_plain_linears(model, wanted)
    try:
        tuner = PEFT_TYPE_TO_TUNER_MAPPING[peft.peft_type](model, peft, adapter_name=ADAPTER_NAME)
    except Exception as error:  # PEFT raises errors of any type, which the user has to fix
        raise AdapterError(f"adapter '{family.title(config)}' does not fit this model: {error}") from error
    finally:
        for layer, kind in faster.items():
            layer.__class__ = kind
        for parameter, flag in zip(parameters, flags, strict=True):
            parameter.requires_grad_(flag)
        rewritten = _restore(guarded)
    if rewritten and init_of(peft) is None:
        raise AdapterError(
            f"adapter '{family.title(config)}' overwrites backbone weights when it is injected, "
            "and other trials share them; use another method, or another initialisation in its arguments"
        )
    if set(tuner.targeted_module_names) != wanted:
        extra = sorted(set(tuner.targeted_module_names) ^ wanted)
        raise AdapterError(
            f"adapter '{family.title(config)}' would adapt other layers than the targets: {', '.join(extra)}"
        )
    if prepared is not None:
        finish_lora(model, prepared)
    family.after_injection(model, config, layout, kept)
    return Adapted(model, peft, family.hook(tuner), base)


def _as_plain_linears(model: nn.Module, names: set[str]) -> dict[nn.Module, type[nn.Module]]:
    """Make layers plain that compute what a linear layer computes, and return them with their classes.

    Some methods of PEFT (GLORA) accept `nn.Linear` itself only.
    """
    layers = {model.get_submodule(name) for name in names}
    found = {layer: type(layer) for layer in layers if getattr(type(layer), "computes_as_linear", False)}
    for layer in found:
        layer.__class__ = nn.Linear
    return found


def _check_fits(config: TrialConfig, layout: Layout, total_steps: int) -> None:
    errors = check_adapter_fits(
        config, layout.hidden, len(layout.blocks), inner=layout.inner, total_steps=total_steps
    )
    if errors:
        raise AdapterError("; ".join(errors))


def _guard(model: nn.Module, targets: set[str]) -> list[tuple[nn.Parameter, Tensor, Tensor]]:
    """Each target's parameters with their storage and a copy of the content."""
    return [
        (parameter, parameter.data, parameter.detach().clone())
        for name in sorted(targets)
        for parameter in model.get_submodule(name).parameters()
        if not parameter.is_meta
    ]


def _restore(guarded: list[tuple[nn.Parameter, Tensor, Tensor]]) -> bool:
    """Restore overwritten weights; returns whether there were any."""
    rewritten = False
    for parameter, storage, copy in guarded:
        if not torch.equal(parameter.data, copy):
            rewritten = True
            parameter.data = storage.copy_(copy)
    return rewritten
