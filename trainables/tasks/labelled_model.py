"""A checkpoint with a head of its own, whose labels are matched with the data's classes by name.

Detectors, models with masks of objects and segmenters with their own heads have in common what is here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import torch
from torch import Tensor, nn

from trainables.adapters.layout import Layout
from trainables.data.resize import Resize
from trainables.errors import ModelError
from trainables.metrics.rules import MetricRules
from trainables.specs.heads import HeadSource
from trainables.specs.trial import HeadSpec, TrialConfig
from trainables.specs.workload import ModelSpec
from trainables.tasks.base import Scale, clone_module, tensors_of
from trainables.tasks.head_names import (
    check_none_known,
    check_numbers,
    head_source,
    label_ids,
    name_fault,
    why_new,
)


class HeadFamily(Protocol):
    """Where the heads of a family of models are."""

    def head_modules(self, model: Any) -> list[nn.Module]:
        """The modules of the head; a list counts as one."""
        ...

    def head_tensors(self, model: Any) -> list[Tensor]:
        """Parameters and buffers of the head."""
        ...

    def bare_names(self, model: Any) -> list[str]:
        """The parameters of the head that belong to no module of it."""
        ...


@dataclass(frozen=True)
class FoundLabels:
    """What a checkpoint's labels are to the data's classes.

    ids: the label of each class; None if it does not know all of them.  names: the labels, in their order.
    fault: why that is probably a mistake.
    """

    ids: Tensor | None
    names: tuple[str, ...]
    fault: str | None = None

    @classmethod
    def of(
        cls, spec: ModelSpec, labels: Mapping[int, str], classes: tuple[str, ...], device: torch.device
    ) -> FoundLabels:
        """labels: the checkpoint's `id2label`, empty without a head.

        Raises ModelError if they do not number its outputs, or if only some of the classes are among them.
        """
        check_numbers(spec, labels)
        names = tuple(dict(sorted(labels.items())).values())
        ids = None if spec.new_head else label_ids(labels, classes)
        if ids is not None:
            return cls(torch.tensor(ids, device=device), names)
        if spec.new_head:
            return cls(None, names)
        check_none_known(spec, names, classes)
        return cls(None, names, name_fault(classes, names))


@dataclass(frozen=True, kw_only=True)
class LabelledModel:
    """A worker's model, without its loss and what its outputs mean; see `TaskModel`."""

    model: Any
    """Unmodified, on the device, without gradients."""
    family: HeadFamily
    classes: tuple[str, ...]
    layout: Layout
    resize: Resize
    scale: Scale
    ids: Tensor | None
    """The checkpoint's label for each class of the data; None if it does not know all of them."""
    labels: tuple[str, ...]
    """The checkpoint's labels, in its order."""
    head_fault: str | None = None
    rules: MetricRules = field(default_factory=MetricRules)

    @property
    def fresh_head(self) -> bool:
        """Whether the checkpoint does not know these classes."""
        return self.ids is None

    def with_head_as_before(self) -> Self:
        """These heads were always matched by name."""
        return self

    def head_source(self, config: TrialConfig) -> HeadSource:
        """The same for all trials."""
        return head_source(None if self.ids is None else self.ids.tolist(), len(self.labels))

    def layout_in(self, model: nn.Module) -> Layout:
        """The model's layout; adapters do not change names."""
        return self.layout

    def head_names(self, model: nn.Module) -> set[str]:
        """The parameters of the head."""
        # By identity: a decoder that refines boxes has the same weights under another name.
        head = {id(t) for t in self.family.head_tensors(model)}
        return {n for n, p in model.named_parameters() if id(p) in head}

    def _check_own(self, config: TrialConfig, uses: str, why_fresh: str | None = None) -> None:
        """Raises ModelError for settings of a head that is not ours.

        uses: `NAME uses its own`, for a message.
        why_fresh: why the head is new, if not for the labels.
        """
        if config.head != HeadSpec():
            raise ModelError(f"head: {uses} head; remove its settings")
        if config.freeze_head and self.ids is None:
            why = why_fresh or why_new(self.classes, self.labels)
            raise ModelError(f"freeze_head: {why}, so its head is new and must train")

    def _cloned(self, *, share: bool) -> Any:
        """The model with a head of its own. share: see `TaskModel.assemble`."""
        head = {id(t) for t in self.family.head_tensors(self.model)}
        shared = [t for t in tensors_of(self.model) if id(t) not in head] if share else []
        return clone_module(self.model, sharing=shared)
