"""Converts a trained model to a plain model, with or without an adapter that PEFT supports.

| adapter        | is exported as                                                         |
|----------------|------------------------------------------------------------------------|
| lora, loha, lokr, localized_lora, peft | themselves                                     |
| serial_lora    | LoRA with A, and W·B for B, at scale 1: ΔW = W·B·A                     |
| adalora        | LoRA with E ⊙ A, scaled, with the ranks that are left in each layer    |
| init lora_ga   | LoRA of twice the rank: ΔW = s·(B·A − B₀·A₀)                           |

A serial adapter saved without conversion would load as ordinary LoRA, with wrong outputs and no error.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from peft import PeftConfig, PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from trainables.adapters.family import ADAPTER_NAME
from trainables.adapters.from_images import CentredLinear, centred_as_lora
from trainables.adapters.registry import FAMILIES
from trainables.errors import AdapterError
from trainables.export.patterns import exact_patterns
from trainables.export.use import quiet
from trainables.inference.trained_model import TrainedModel
from trainables.specs.workload import Task
from trainables.tasks.labelled_model import LabelledModel
from trainables.tasks.linear import use_torch

_WRAPPED = re.compile(r"\.base_layer(?=\.)")


@dataclass(frozen=True)
class Portable:
    """The plain parts of a trained model, on the CPU.

    pristine: the transformers model without an adapter and with its pretrained backbone:
    with its own trained head, or the backbone of a segmenter with a head of ours.  weights: its weights after
    training.  head: of ours.  config, tensors: of the adapter, with PEFT's names in the model; None and
    empty without an adapter.
    """

    pristine: Any
    weights: dict[str, Tensor]
    head: nn.Module | None
    config: PeftConfig | None
    tensors: dict[str, Tensor]
    saved_modules: tuple[str, ...]
    """The names of the modules in the head of a model that has its own."""
    bare: tuple[str, ...] = ()
    """The parameters of that head that belong to none of these modules; PEFT cannot save them."""

    @property
    def head_is_found(self) -> bool:
        """Whether PEFT can save the head with the adapter.

        It takes every module whose name ends with a given one, also amid a word: with `class_embed` it would
        take the list `enc_out_class_embed` as well, and fail.
        """
        every = {name for name, _ in self.pristine.named_modules(remove_duplicate=False)}
        others = every - set(self.saved_modules)
        return not self.bare and not any(name.endswith(self.saved_modules) for name in others)

    def base(self) -> Any:
        """The model without its adapter, with the trained weights."""
        model = copy.deepcopy(self.pristine)
        model.load_state_dict(self.weights)
        return model.eval()

    def with_adapter(self, *, saves_head: bool) -> PeftModel:
        """PEFT's model, in evaluation mode. saves_head: save a detector's head with the adapter."""
        assert self.config is not None
        config = copy.deepcopy(self.config)
        head: tuple[str, ...] = ()
        if saves_head and self.saved_modules:
            config.modules_to_save = list(self.saved_modules)
            head = tuple(f"{name}." for name in self.saved_modules)
        # Some methods derive directions from the weights that they are injected into: these must be the
        # pretrained weights, even if the backbone was trained.
        with torch.random.fork_rng(devices=[]), quiet():  # initial weights, overwritten below
            model = PeftModel(copy.deepcopy(self.pristine), config, adapter_name=ADAPTER_NAME)
        inner = model.base_model.model
        names = [name for name in inner.state_dict() if not name.startswith(head)]
        known = {name: self.weights[_plain(name)] for name in names if _plain(name) in self.weights}
        if set(names) - set(known) != set(self.tensors):
            odd = ", ".join(sorted((set(names) - set(known)) ^ set(self.tensors))[:3])
            raise AdapterError(
                f"PEFT's {config.peft_type.value} does not have the same tensors as the trained adapter:"
                f" {odd} is in one of them only; please report it"
            )
        inner.load_state_dict(known | self.tensors, strict=False)
        return model.eval()

    def merged(self) -> Any:
        """The model with the adapter merged into its weights. Raises AdapterError where PEFT cannot."""
        if self.config is None:
            return self.base()
        try:
            return self.with_adapter(saves_head=False).merge_and_unload().eval()
        except Exception as error:  # methods that cannot be merged raise different errors
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise AdapterError(
                f"PEFT cannot merge {self.config.peft_type.value} into the weights ({reason});"
                " export without --merge, as an adapter"
            ) from error


def split_portable(trained: TrainedModel) -> Portable:
    """Divide a trained model into its plain parts. Shared tensors are copied."""
    with torch.random.fork_rng(devices=[]):  # a new head, overwritten below
        model = trained.task.assemble(trained.config, share=False).cpu()
    use_torch(model)
    state = {name: tensor.detach().cpu() for name, tensor in trained.model.state_dict().items()}
    plain = {_plain(name): tensor for name, tensor in state.items()}
    weights = {name: plain[name] for name in model.state_dict()}
    added = {name: tensor for name, tensor in state.items() if _plain(name) not in weights}
    config, tensors = _adapter(trained, added)
    return DIVIDERS[trained.workload.task](trained, Portable(model, weights, None, config, tensors, ()))


def _segmenter(trained: TrainedModel, whole: Portable) -> Portable:
    """The backbone as a transformers model, and its head; or a segmenter with its own head."""
    if isinstance(trained.task, LabelledModel):
        return _with_own_head(trained, whole)
    under, model = "backbone.", whole.pristine
    model.head.load_state_dict(_below(whole.weights, "head."))
    return Portable(
        pristine=model.backbone,
        weights=_below(whole.weights, under),
        head=model.head,
        config=_relative(whole.config, under),
        tensors=_below(whole.tensors, under),
        saved_modules=(),
    )


def _with_own_head(trained: TrainedModel, whole: Portable) -> Portable:
    """A model of transformers with its trained head."""
    assert isinstance(trained.task, LabelledModel)
    family, model = trained.task.family, whole.pristine
    names = _modules(model, family.head_modules(model))
    head = tuple(f"{name}." for name in names)
    model.load_state_dict({n: t for n, t in whole.weights.items() if n.startswith(head)}, strict=False)
    return replace(whole, saved_modules=tuple(names), bare=tuple(family.bare_names(model)))


DIVIDERS: Mapping[Task, Callable[[TrainedModel, Portable], Portable]] = {
    Task.DETECTION: _with_own_head,
    Task.SEGMENTATION: _segmenter,
    Task.INSTANCE_SEGMENTATION: _with_own_head,
}
"""The functions that divide a task's model into a transformers model and our head."""


def _adapter(trained: TrainedModel, added: dict[str, Tensor]) -> tuple[PeftConfig | None, dict[str, Tensor]]:
    """The adapter's configuration, with the name of every adapted layer, and its tensors."""
    if trained.adapted.config is None:
        return None, {}
    layers = {name: m for name, m in trained.model.named_modules() if isinstance(m, BaseTunerLayer)}
    if any(isinstance(layer, CentredLinear) for layer in layers.values()):
        return centred_as_lora(trained.adapted.config, layers, added)
    exported = FAMILIES[trained.config.adapter].exported
    if exported is not None:
        return exported(trained.config.section, layers, added)
    config = copy.deepcopy(trained.adapted.config)
    # PEFT may have shortened the names to endings that are unique in this model only.
    config.target_modules = set(layers)
    config.inference_mode = True
    return config, added


def _relative(config: PeftConfig | None, under: str) -> PeftConfig | None:
    """The configuration with layer names relative to the submodule `under`."""
    if config is None:
        return None
    exact_patterns(config, config.target_modules, under)
    for field in ("target_modules", "feedforward_modules"):
        names: Iterable[str] | None = getattr(config, field, None)
        if names:
            setattr(config, field, {name.removeprefix(under) for name in names})
    return config


def _modules(model: nn.Module, heads: list[nn.Module]) -> list[str]:
    """All names of the head's modules; for a module list, those of its entries: PEFT accepts no list.

    A decoder that refines boxes has the box predictor under another name.
    """
    parts = {id(p) for head in heads for p in (head if isinstance(head, nn.ModuleList) else (head,))}
    parameters = {id(p) for head in heads for p in head.parameters()}
    found: list[str] = []
    for name, module in model.named_modules(remove_duplicate=False):
        own = {id(p) for p in module.parameters()}
        of_head = id(module) in parts or (bool(own) and own <= parameters)
        if (
            of_head
            and not isinstance(module, nn.ModuleList)
            and not name.startswith(tuple(f"{f}." for f in found))
        ):
            found.append(name)
    return found


def _below(tensors: dict[str, Tensor], under: str) -> dict[str, Tensor]:
    return {name.removeprefix(under): tensor for name, tensor in tensors.items() if name.startswith(under)}


def _plain(name: str) -> str:
    return _WRAPPED.sub("", name)
