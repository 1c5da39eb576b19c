"""The interface of a segmenter that brings its own head and loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from trainables.data.files.mask_pixels import IGNORE
from trainables.data.resize import Resize, nearest_multiples
from trainables.errors import ModelError
from trainables.specs.workload import ModelSpec, Task
from trainables.tasks import hub
from trainables.tasks.base import tensors_of
from trainables.tasks.head_names import name_labels


class SegmenterFamily(ABC):
    """The properties of a model type. Its labels are the checkpoint's, in the order of its config."""

    auto: ClassVar[str]
    """The class of transformers that loads it by its config."""
    parts: ClassVar[tuple[str, ...]]
    """The modules of its head."""
    classifier: ClassVar[str]
    """The layer of the head with an output for each label."""
    without_label: ClassVar[int] = 0
    """Outputs of that layer besides the labels."""
    constants: ClassVar[tuple[str, ...]] = ()
    """Beginnings of names of tensors that follow from the config, and that a checkpoint may lack."""
    loss_in_words: ClassVar[str]
    """What its loss is, for a message."""

    @abstractmethod
    def resize(self, config: Any, processor: Any, spec: ModelSpec) -> Resize:
        """The resize rule. Raises ModelError for a size that the model cannot take as a whole."""

    @abstractmethod
    def scores(self, found: Any, size: tuple[int, int]) -> Tensor:
        """(B, labels, H, W) float32 scores of `size` from the model's output, as its processor computes them.

        Every pixel has the label with the highest score.
        """

    @abstractmethod
    def log_scores(self, scores: Tensor) -> Tensor:
        """Scores as logarithms of probabilities, up to a term of each pixel."""

    @abstractmethod
    def loss(self, model: Any, images: Tensor, truth: Tensor) -> Tensor:
        """The training loss of transformers on a batch, float32.

        images: (B, 3, H, W) scaled.  truth: (B, H, W) int64 labels, IGNORE for pixels that do not count.
        """

    @abstractmethod
    def each_loss(self, model: Any, images: Tensor, truth: Tensor) -> tuple[Tensor, Any]:
        """(B,) the loss of each image alone, and the model's output. It draws no random numbers."""

    def load(self, spec: ModelSpec) -> tuple[Any, bool]:
        """The checkpoint's model on the CPU, and whether it has the head. Raises ModelError."""
        import transformers

        auto = getattr(transformers, self.auto)
        return hub.read_model_and_head(
            spec, Task.SEGMENTATION, auto, head=self.optional_head, constants=self.constants
        )

    training_modules: ClassVar[frozenset[str]] = frozenset()
    """See `TaskModel.training_modules`."""
    masks_at: ClassVar[tuple[int, int] | None] = None
    """The size at which masks of queries become probabilities; None for the image's."""
    optional_head: ClassVar[str] = ""
    """The beginning of the names of a head that a checkpoint may lack altogether; empty if none may."""

    @abstractmethod
    def prepare(self, model: Any) -> None:
        """Change a loaded model so that what needs float32 is computed in it; names and values stay."""

    def renew(self, model: Any, labels: tuple[str, ...], *, whole: bool) -> None:
        """Give the model labels, and a layer for them that is drawn as in transformers.

        whole: draw the whole head, because the checkpoint has none.
        """
        name_labels(model, labels)
        parent, _, leaf = self.classifier.rpartition(".")
        holder = model.get_submodule(parent)
        setattr(holder, leaf, self._layer(getattr(holder, leaf), len(labels) + self.without_label, model))

    def _layer(self, old: Any, outputs: int, model: Any) -> nn.Module:
        layer: nn.Module
        if isinstance(old, nn.Conv2d):
            layer = nn.Conv2d(old.in_channels, outputs, kernel_size=1)
        else:
            layer = nn.Linear(old.in_features, outputs)
        model._init_weights(layer)
        return layer.requires_grad_(False).to(old.weight.device)

    def head_modules(self, model: Any) -> list[nn.Module]:
        """The modules of the head."""
        return [model.get_submodule(name) for name in self.parts]

    def bare_names(self, model: Any) -> list[str]:
        """None: all parameters of the head belong to its modules."""
        return []

    def head_tensors(self, model: Any) -> list[Tensor]:
        """Parameters and buffers of the head."""
        return [tensor for module in self.head_modules(model) for tensor in tensors_of(module)]


def fixed_multiple(rule: Resize, multiple: int, spec: ModelSpec, why: str) -> Resize:
    """`rule`, if its sides are multiples. Raises ModelError with the nearest sides, and `why`."""
    if rule.height is None or rule.width is None:
        return rule
    sides = rule.height, rule.width
    near = nearest_multiples(sides, (multiple, multiple))
    if near == list(sides):
        return rule
    raise ModelError(
        f"model.image_size: sides must be multiples of {multiple} ({why}), got {list(sides)}; use {near}"
    )


def counted(truth: Tensor) -> Tensor:
    """(B,) the number of pixels of each image that count."""
    return (truth != IGNORE).flatten(1).sum(1)


def outside_autocast(device: torch.device) -> torch.autocast:
    """Within the context, operations compute in the precision of their arguments."""
    return torch.autocast(device.type, enabled=False)
