"""A trained model as a plain one, with or without an adapter that PEFT knows.

| adapter        | leaves as                                                              |
|----------------|------------------------------------------------------------------------|
| lora, loha, lokr, localized_lora, peft | themselves                                     |
| serial_lora    | LoRA with A, and W·B for B, at scale 1: ΔW = W·B·A                     |
| adalora        | LoRA with E ⊙ A, scaled, of the ranks that are left, each layer its own |

A serial adapter saved as it stands would load as ordinary LoRA, with wrong outputs and no complaint.
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
from trainables.adapters.registry import FAMILIES
from trainables.errors import AdapterError
from trainables.export.use import quiet
from trainables.inference.trained_model import TrainedModel
from trainables.specs.workload import Task
from trainables.tasks.detection import DetectionTask

_WRAPPED = re.compile(r"\.base_layer(?=\.)")


@dataclass(frozen=True)
class Portable:
    """Plain parts of a trained model, on the CPU.

    pristine: the model that transformers knows, without an adapter and with its backbone as it came:
    a detector with its trained head, or a segmenter's backbone.  weights: what it holds after training.
    head: a segmenter's.  config, tensors: of the adapter, names as PEFT has them in the model; None and
    empty without one.
    """

    pristine: Any
    weights: dict[str, Tensor]
    head: nn.Module | None
    config: PeftConfig | None
    tensors: dict[str, Tensor]
    saved_modules: tuple[str, ...]
    """A detector's head, by the names of its modules."""

    def base(self) -> Any:
        """The model without its adapter, weights as trained."""
        model = copy.deepcopy(self.pristine)
        model.load_state_dict(self.weights)
        return model.eval()

    def with_adapter(self, *, saves_head: bool) -> PeftModel:
        """PEFT's own model, in evaluation mode. saves_head: a detector's head belongs to the adapter."""
        assert self.config is not None
        config = copy.deepcopy(self.config)
        head: tuple[str, ...] = ()
        if saves_head and self.saved_modules:
            config.modules_to_save = list(self.saved_modules)
            head = tuple(f"{name}." for name in self.saved_modules)
        # Some methods take directions from the weights that they are put on: from those of the start,
        # wherever the backbone moved since.
        with torch.random.fork_rng(devices=[]), quiet():  # initial weights, overwritten below
            model = PeftModel(copy.deepcopy(self.pristine), config, adapter_name=ADAPTER_NAME)
        inner = model.base_model.model
        names = [name for name in inner.state_dict() if not name.startswith(head)]
        known = {name: self.weights[_plain(name)] for name in names if _plain(name) in self.weights}
        if set(names) - set(known) != set(self.tensors):
            odd = ", ".join(sorted((set(names) - set(known)) ^ set(self.tensors))[:3])
            raise AdapterError(
                f"PEFT's {config.peft_type.value} cannot be filled with what was trained:"
                f" {odd} is on one side only; please report it"
            )
        inner.load_state_dict(known | self.tensors, strict=False)
        return model.eval()

    def merged(self) -> Any:
        """The model with the adapter merged into its weights. Raises AdapterError where PEFT cannot."""
        if self.config is None:
            return self.base()
        try:
            return self.with_adapter(saves_head=False).merge_and_unload().eval()
        except Exception as error:  # methods that change no weight say so in many ways
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise AdapterError(
                f"PEFT cannot merge {self.config.peft_type.value} into the weights ({reason});"
                " export without --merge, as an adapter"
            ) from error


def portable(trained: TrainedModel) -> Portable:
    """Take a trained model apart. What it shares with others is copied."""
    with torch.random.fork_rng(devices=[]):  # a new head, overwritten below
        model = trained.task.assemble(trained.config, share=False).cpu()
    state = {name: tensor.detach().cpu() for name, tensor in trained.model.state_dict().items()}
    plain = {_plain(name): tensor for name, tensor in state.items()}
    weights = {name: plain[name] for name in model.state_dict()}
    added = {name: tensor for name, tensor in state.items() if _plain(name) not in weights}
    config, tensors = _adapter(trained, added)
    return DIVIDERS[trained.workload.task](trained, Portable(model, weights, None, config, tensors, ()))


def _segmenter(trained: TrainedModel, whole: Portable) -> Portable:
    """The backbone that transformers knows, and its head."""
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


def _detector(trained: TrainedModel, whole: Portable) -> Portable:
    """The model that transformers knows, with its trained head."""
    assert isinstance(trained.task, DetectionTask)
    family, model = trained.task.family, whole.pristine
    names = _modules(model, [getattr(model, family.classifier), getattr(model, family.boxes)])
    head = tuple(f"{name}." for name in names)
    model.load_state_dict({n: t for n, t in whole.weights.items() if n.startswith(head)}, strict=False)
    return replace(whole, saved_modules=tuple(names))


DIVIDERS: Mapping[Task, Callable[[TrainedModel, Portable], Portable]] = {
    Task.DETECTION: _detector,
    Task.SEGMENTATION: _segmenter,
}
"""How a task's whole model is divided into what transformers knows and a head of ours."""


def _adapter(trained: TrainedModel, added: dict[str, Tensor]) -> tuple[PeftConfig | None, dict[str, Tensor]]:
    """Its configuration, with every adapted layer by name, and its tensors."""
    if trained.adapted.config is None:
        return None, {}
    layers = {name: m for name, m in trained.model.named_modules() if isinstance(m, BaseTunerLayer)}
    exported = FAMILIES[trained.config.adapter].exported
    if exported is not None:
        return exported(trained.config.section, layers, added)
    config = copy.deepcopy(trained.adapted.config)
    # PEFT may have shortened the names to endings that tell layers apart in one model, not in any.
    config.target_modules = set(layers)
    config.inference_mode = True
    return config, added


def _relative(config: PeftConfig | None, under: str) -> PeftConfig | None:
    """The configuration with layers named from the submodule `under`."""
    if config is None:
        return None
    for field in ("target_modules", "feedforward_modules"):
        names: Iterable[str] | None = getattr(config, field, None)
        if names:
            setattr(config, field, {name.removeprefix(under) for name in names})
    for field in ("rank_pattern", "alpha_pattern"):
        pattern: dict[str, Any] | None = getattr(config, field, None)
        if pattern:
            own = {name.removeprefix(re.escape(under)).removeprefix(under): v for name, v in pattern.items()}
            setattr(config, field, own)
    return config


def _modules(model: nn.Module, heads: list[nn.Module]) -> list[str]:
    """Every name of the head's modules, of a list those of its entries: PEFT takes no list.

    A decoder that refines boxes has the box predictor under a name of its own.
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
