"""Semantic segmentation: a ViT's patch tokens and a convolutional head."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from trainables.adapters.layout import Layout, layout_of
from trainables.data.loader import Batch, eval_batches
from trainables.data.prepared import PreparedSplit
from trainables.data.resize import Resize
from trainables.errors import ModelError
from trainables.metrics.dice import confused_by_image, counts_of, mask_metrics
from trainables.metrics.per_image import MaskImages
from trainables.metrics.results import Keep, MaskResults
from trainables.metrics.rules import MetricRules
from trainables.specs.heads import HeadSource
from trainables.specs.trial import Loss, Precision, TrialConfig
from trainables.specs.workload import ModelSpec, Task
from trainables.tasks import hub
from trainables.tasks.base import (
    RegisteredTask,
    Scale,
    autocast,
    clone_module,
    joined,
    pixels,
    split_by_size,
    tensors_of,
)
from trainables.tasks.class_weights import loss_weights
from trainables.tasks.enlarged_losses import enlarged_losses
from trainables.tasks.head import SegmentationHead
from trainables.tasks.head_names import head_source, name_fault
from trainables.tasks.linear import use_onednn
from trainables.tasks.losses import (
    Measures,
    lane_losses,
    mean_loss,
    measure_images,
    soft_dice,
)

BACKBONES = ("vit", "deit", "dinov2", "dinov2_with_registers")
"""Model types with these tokens: a class token, optional distillation or register tokens, the patches."""


class Segmenter(nn.Module):
    """A ViT backbone without its class token, and a head; maps images to logits of the same size."""

    def __init__(self, backbone: nn.Module, head: SegmentationHead) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        config: Any = backbone.config
        self.patch = _pair(config.patch_size)
        self.pretrained_size = _pair(config.image_size)
        self.prefix = 1 + (config.model_type == "deit") + int(getattr(config, "num_register_tokens", 0) or 0)
        """The number of tokens before the patch tokens."""
        self._may_interpolate = "interpolate_pos_encoding" in inspect.signature(backbone.forward).parameters

    def forward(self, images: Tensor, *, enlarged: bool = True) -> Tensor:
        """(B, 3, H, W) scaled images -> (B, classes, H, W) logits; H and W are multiples of the patch.

        enlarged: whether logits have the size of the images, or are one for each patch.
        """
        height, width = images.shape[-2:]
        options: dict[str, bool] = {}
        if self._may_interpolate and (height, width) != self.pretrained_size:
            options["interpolate_pos_encoding"] = True
        tokens = self.backbone(pixel_values=images, **options).last_hidden_state[:, self.prefix :]
        logits: Tensor = self.head(
            tokens,
            grid=(height // self.patch[0], width // self.patch[1]),
            size=(height, width) if enlarged else None,
        )
        return logits


@dataclass(frozen=True)
class SegmentationTask:
    """A worker's ViT; see `TaskModel`."""

    backbone: nn.Module
    """Unmodified, on the device, without gradients."""

    classes: tuple[str, ...]
    layout: Layout
    resize: Resize
    scale: Scale
    pretrained_head: dict[str, Tensor] | None
    """The checkpoint's head, its outputs in the order of `classes`."""
    pretrained_source: HeadSource = HeadSource.NEW
    head_fault: str | None = None
    rules: MetricRules = field(default_factory=MetricRules)

    @property
    def fresh_head(self) -> bool:
        """Whether the checkpoint has no head for these classes."""
        return self.pretrained_head is None

    @property
    def packs(self) -> bool:
        """The losses of lanes are apart."""
        return True

    def with_head_as_before(self) -> SegmentationTask:
        """A head whose classes were in another order was not used."""
        if self.pretrained_source is HeadSource.KEPT:
            return self
        return replace(self, pretrained_head=None, pretrained_source=HeadSource.NEW, head_fault=None)

    def head_source(self, config: TrialConfig) -> HeadSource:
        """The checkpoint's head serves trials whose head has its shape."""
        held = self.pretrained_head
        fits = held is not None and _shapes(held) == _shapes(self._new_head(config).state_dict())
        return self.pretrained_source if fits else HeadSource.NEW

    def assemble(self, config: TrialConfig, *, share: bool) -> nn.Module:
        """A Segmenter, with the checkpoint's head if `config.head` has the same shape."""
        loss_weights(config, self.classes, _device(self.backbone))
        backbone = clone_module(self.backbone, sharing=tensors_of(self.backbone) if share else ())
        head = self._new_head(config)
        held = self.pretrained_head
        if held is not None and _shapes(held) == _shapes(head.state_dict()):
            head.load_state_dict(held)
        elif config.freeze_head:
            why = "has none for these classes" if held is None else "has one of another shape"
            raise ModelError(f"freeze_head: the head is new (the checkpoint {why}) and must train")
        head.requires_grad_(False).eval()
        return Segmenter(backbone, head.to(_device(self.backbone))).eval()

    def _new_head(self, config: TrialConfig) -> SegmentationHead:
        return SegmentationHead(
            self.layout.hidden,
            len(self.classes),
            width=config.head.width,
            norm=config.head.norm,
            dropout=config.head.dropout,
        )

    def layout_in(self, model: nn.Module) -> Layout:
        """The backbone's layout; adapters do not change names."""
        return self.layout

    def head_names(self, model: nn.Module) -> set[str]:
        """Everything under `head`."""
        return {name for name, _ in model.named_parameters() if name.startswith("head.")}

    def constant_names(self, model: nn.Module) -> frozenset[str]:
        """None."""
        return frozenset()

    def training_modules(self, model: nn.Module) -> frozenset[str]:
        """None: a frozen backbone computes in training what it computes in evaluation."""
        return frozenset()

    def outputs(self, model: nn.Module, batch: Batch) -> Tensor:
        """(B, classes, H, W) logits."""
        logits: Tensor = model(pixels(batch, self.scale))
        return logits

    def loss(self, model: nn.Module, batch: Batch, config: TrialConfig) -> Tensor:
        """The loss of `config.loss`, cross_entropy when absent."""
        return self.lane_losses(model, [batch], [config])[0]

    def lane_losses(
        self, model: nn.Module, batches: Sequence[Batch], configs: Sequence[TrialConfig]
    ) -> Tensor:
        """The loss of each lane over its own images."""
        batch, loss = joined(batches), configs[0].loss or Loss.CROSS_ENTROPY
        on_cpu = _device(self.backbone).type == "cpu"
        logits: Tensor = model(pixels(batch, self.scale), enlarged=not on_cpu)
        assert batch.masks is not None
        with torch.autocast(logits.device.type, enabled=False):
            compute = enlarged_losses if on_cpu else lane_losses
            weights = loss_weights(configs[0], self.classes, logits.device)
            return compute(logits, batch.masks, loss, lanes=len(batches), weights=weights)

    def evaluate(
        self,
        model: nn.Module,
        split: PreparedSplit,
        *,
        batch_size: int,
        device: torch.device,
        precision: Precision,
        config: TrialConfig,
        keep: Keep | None = None,
        choose_threshold: bool = False,
    ) -> dict[str, float]:
        """Dice and IoU over all pixels at mask resolution, `soft_dice` (study B) and `loss`."""
        weights = loss_weights(config, self.classes, device)
        measured: list[Measures] = []
        counts: dict[int, Tensor] = {}
        confusion = torch.zeros((len(self.classes),) * 2, dtype=torch.int64, device=device)
        for batch in eval_batches(split, batch_size=batch_size):
            parts, places = [], []
            for piece in split_by_size(batch.to(device)):
                assert piece.masks is not None
                with autocast(device, precision):
                    logits = self.outputs(model, piece)
                each = confused_by_image(predicted_classes(logits), piece.masks, len(self.classes))
                confusion += each.sum(0)
                counts |= dict(zip(piece.indices, counts_of(each), strict=True))
                parts.append(measure_images(logits, piece.masks, weights))
                places += piece.indices
            # Pieces are formed by size, but groups of images by their order in the split.
            measured.append(Measures.join(parts).take(sorted(range(len(places)), key=places.__getitem__)))
        whole = Measures.join(measured)
        counted = torch.stack([counts[place] for place in sorted(counts)]).cpu()
        metrics = mask_metrics(counted, self.classes, self.rules) | {
            "soft_dice": soft_dice(whole),
            "loss": mean_loss(whole, config.loss or Loss.CROSS_ENTROPY, weights),
        }
        finite = bool(torch.isfinite(whole.entropy).all())
        if keep is not None and finite:
            images = MaskImages(self.classes, tuple(split.names), counted.numpy(), self.rules)
            soft = torch.stack([whole.overlap, whole.predicted, whole.true], dim=1).cpu().double()
            keep(MaskResults(images, soft.numpy(), confusion.cpu().numpy()))
        return metrics if finite else dict.fromkeys(metrics, math.nan)


def load_segmenter(spec: ModelSpec, classes: tuple[str, ...], device: torch.device) -> SegmentationTask:
    """Load a ViT checkpoint, and its head if there is one for these classes. Raises ModelError."""
    from transformers import AutoModel

    config = hub.read_config(spec, Task.SEGMENTATION)
    processor = hub.read_processor(spec, Task.SEGMENTATION)
    resized = segmenter_resize(config, processor, spec)
    options = {"add_pooling_layer": False} if config.model_type in ("vit", "deit") else {}
    backbone = hub.read_model(spec, Task.SEGMENTATION, AutoModel, **options).to(device)
    use_onednn(backbone)
    found = HeldHead() if spec.new_head else _pretrained_head(spec, classes, device)
    return SegmentationTask(
        backbone=backbone,
        classes=classes,
        layout=layout_of(backbone).under("backbone"),
        resize=resized,
        scale=hub.scale_from(processor),
        pretrained_head=found.tensors,
        pretrained_source=found.source,
        head_fault=found.fault,
    )


def segmenter_resize(config: Any, processor: Any, spec: ModelSpec) -> Resize:
    """The resize rule. Raises ModelError for another kind of model, or sides that patches do not fill."""
    if config.model_type not in BACKBONES:
        raise ModelError(
            f"model.name '{spec.name}' is a {config.model_type} checkpoint; segmentation supports "
            f"{', '.join(BACKBONES)}"
        )
    patch = _pair(config.patch_size)
    rule = hub.resize_from(processor, spec, multiple_of=math.lcm(*patch))
    if (
        rule.height is not None
        and rule.width is not None
        and (rule.height % patch[0] or rule.width % patch[1])
    ):
        near = [max(1, round(side / p)) * p for side, p in zip((rule.height, rule.width), patch, strict=True)]
        raise ModelError(
            f"model.image_size: sides must be multiples of the patch, {patch[0]}×{patch[1]} pixels, "
            f"got {[rule.height, rule.width]}; use {near}"
        )
    return rule


TASK = RegisteredTask(load=load_segmenter, resize=segmenter_resize)


def predicted_classes(logits: Tensor) -> Tensor:
    """(B, H, W) the class with the highest logit; on a CPU `argmax` over classes takes 15 times as long."""
    return logits.max(1).indices


@dataclass(frozen=True)
class HeldHead:
    """A checkpoint's head for the data's classes, or why there is none."""

    tensors: dict[str, Tensor] | None = None
    source: HeadSource = HeadSource.NEW
    fault: str | None = None


def _pretrained_head(spec: ModelSpec, classes: tuple[str, ...], device: torch.device) -> HeldHead:
    """The head that is saved next to the backbone, if it has all of these classes, in their order."""
    folder = hub.folder_of(spec, Task.SEGMENTATION)
    if folder is None or not (folder / "head.json").exists():
        return HeldHead()
    try:
        known = [str(n) for n in json.loads((folder / "head.json").read_text(encoding="utf-8"))["classes"]]
        if any(known.count(name) != 1 for name in classes):
            return HeldHead(fault=name_fault(classes, known))
        held: dict[str, Tensor] = load_file(folder / "head.safetensors", device=str(device))
        order = [known.index(name) for name in classes]
        chosen = {n: t[order] if n.startswith("classify.") else t for n, t in held.items()}
    except Exception as error:  # a file that is damaged in any way
        raise ModelError(
            f"model.name '{spec.name}': cannot read the head in {folder} ({error}); "
            "remove head.json to start with a new one"
        ) from error
    return HeldHead(chosen, head_source(order, len(known)))


def _shapes(state: dict[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in state.items()}


def _pair(value: Any) -> tuple[int, int]:
    height, width = (value, value) if isinstance(value, int) else value
    return int(height), int(width)


def _device(module: nn.Module) -> torch.device:
    return next(module.parameters()).device
