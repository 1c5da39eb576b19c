"""Semantic segmentation: a ViT's patch tokens and a head of ours, or a segmenter with its own head."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from trainables.adapters.block_span import blocks_fault
from trainables.adapters.layout import Layout, layout_of
from trainables.data.loader import Batch
from trainables.data.prepared import PreparedSplit
from trainables.data.resize import Resize
from trainables.errors import ModelError
from trainables.metrics.results import Keep
from trainables.metrics.rules import MetricRules
from trainables.specs.heads import HeadSource
from trainables.specs.trial import HeadKind, Loss, Precision, TrialConfig
from trainables.specs.workload import ModelSpec, Task
from trainables.tasks import hub
from trainables.tasks.base import (
    RegisteredTask,
    Scale,
    TaskModel,
    clone_module,
    joined,
    pixels,
    tensors_of,
)
from trainables.tasks.class_weights import loss_weights
from trainables.tasks.enlarged_losses import enlarged_losses
from trainables.tasks.head import blocks_read, new_head
from trainables.tasks.head_names import head_source, name_fault
from trainables.tasks.linear import use_onednn
from trainables.tasks.losses import lane_losses
from trainables.tasks.segmenters.own_heads import OwnHeadTask, load_headed
from trainables.tasks.segmenters.registry import SEGMENTER_FAMILIES
from trainables.tasks.segmenters.scoring import Scored, mask_scores
from trainables.tasks.segmenters.vit_segmenter import Segmenter
from trainables.tasks.segmenters.vits import VIT_FAMILIES, vit_resize


@dataclass(frozen=True)
class HeldHead:
    """A checkpoint's head, its outputs in the order of the data's classes.

    blocks: those that it reads; None for the last one as the model gives it.
    """

    tensors: dict[str, Tensor]
    kind: HeadKind
    blocks: tuple[int, ...] | None
    source: HeadSource


@dataclass(frozen=True)
class SegmentationTask:
    """A worker's ViT; see `TaskModel`."""

    backbone: nn.Module
    """Unmodified, on the device, without gradients."""

    classes: tuple[str, ...]
    layout: Layout
    resize: Resize
    scale: Scale
    pretrained_head: HeldHead | None
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
        if self.pretrained_head is not None and self.pretrained_head.source is HeadSource.KEPT:
            return self
        return replace(self, pretrained_head=None, head_fault=None)

    def head_source(self, config: TrialConfig) -> HeadSource:
        """The checkpoint's head serves trials whose head has its shape."""
        held = self._held_for(config, self._new_head(config))
        return HeadSource.NEW if held is None else held.source

    def _held_for(self, config: TrialConfig, head: nn.Module) -> HeldHead | None:
        """The checkpoint's head if it is of this kind and shape, and reads the same blocks."""
        held = self.pretrained_head
        if held is None or held.kind is not config.head.kind or held.blocks != self._reads(config):
            return None
        return held if _shapes(held.tensors) == _shapes(head.state_dict()) else None

    def assemble(self, config: TrialConfig, *, share: bool) -> nn.Module:
        """A Segmenter, with the checkpoint's head if `config.head` is of the same kind and shape."""
        if config.head.blocks is not None and (
            fault := blocks_fault("head.blocks", config.head.blocks, len(self.layout.blocks))
        ):
            raise ModelError(fault)
        loss_weights(config, self.classes, _device(self.backbone))
        backbone = clone_module(self.backbone, sharing=tensors_of(self.backbone) if share else ())
        head = self._new_head(config)
        held = self._held_for(config, head)
        if held is not None:
            head.load_state_dict(held.tensors)
        elif config.freeze_head:
            raise ModelError(
                f"freeze_head: the head is new (the checkpoint has {self._other(config)}) and must train"
            )
        head.requires_grad_(False).eval()
        return Segmenter(backbone, head.to(_device(self.backbone)), self._reads(config)).eval()

    def _other(self, config: TrialConfig) -> str:
        """The checkpoint's head, if it does not serve this configuration."""
        held = self.pretrained_head
        if held is None:
            return "none for these classes"
        same = held.kind is config.head.kind and held.blocks == self._reads(config)
        return "one of another shape" if same else "one of another kind, or that reads other blocks"

    def _reads(self, config: TrialConfig) -> tuple[int, ...] | None:
        return blocks_read(config.head, len(self.layout.blocks))

    def _new_head(self, config: TrialConfig) -> nn.Module:
        count = len(self._reads(config) or (-1,))
        return new_head(config.head, self.layout.hidden, len(self.classes), blocks=count)

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

        def scored(piece: Batch) -> Scored:
            logits = self.outputs(model, piece)
            return Scored(logits, logits)

        return mask_scores(
            scored,
            split,
            self.classes,
            self.rules,
            batch_size=batch_size,
            device=device,
            precision=precision,
            loss=config.loss or Loss.CROSS_ENTROPY,
            weights=loss_weights(config, self.classes, device),
            keep=keep,
        )


def load_segmenter(spec: ModelSpec, classes: tuple[str, ...], device: torch.device) -> TaskModel:
    """Load a checkpoint, and its head if there is one for these classes. Raises ModelError."""
    config = hub.read_config(spec, Task.SEGMENTATION)
    if config.model_type in SEGMENTER_FAMILIES:
        processor = hub.read_processor(spec, Task.SEGMENTATION)
        return load_headed(OwnHeadTask, spec, classes, device, config, processor)
    return load_vit(spec, classes, device)


def load_vit(spec: ModelSpec, classes: tuple[str, ...], device: torch.device) -> SegmentationTask:
    """Load a ViT for heads of ours, with the one saved beside it if that fits. Raises ModelError."""
    config = hub.read_config(spec, Task.SEGMENTATION)
    _check_vit(config, spec)
    processor = hub.read_processor(spec, Task.SEGMENTATION)
    resized = vit_resize(config, processor, spec)
    backbone = VIT_FAMILIES[config.model_type].load(spec, config).to(device)
    use_onednn(backbone)
    held, fault = (None, None) if spec.new_head else _pretrained_head(spec, classes, device)
    return SegmentationTask(
        backbone=backbone,
        classes=classes,
        layout=layout_of(backbone).under("backbone"),
        resize=resized,
        scale=hub.scale_from(processor),
        pretrained_head=held,
        head_fault=fault,
    )


def segmenter_resize(config: Any, processor: Any, spec: ModelSpec) -> Resize:
    """The resize rule. Raises ModelError for another kind of model, or a size that it does not take."""
    if config.model_type in SEGMENTER_FAMILIES:
        return SEGMENTER_FAMILIES[config.model_type].resize(config, processor, spec)
    _check_vit(config, spec)
    return vit_resize(config, processor, spec)


def _check_vit(config: Any, spec: ModelSpec) -> None:
    if config.model_type not in VIT_FAMILIES:
        raise ModelError(
            f"model.name '{spec.name}' is a {config.model_type} checkpoint; segmentation supports "
            f"{', '.join((*VIT_FAMILIES, *SEGMENTER_FAMILIES))}"
        )


TASK = RegisteredTask(load=load_segmenter, resize=segmenter_resize)


def _pretrained_head(
    spec: ModelSpec, classes: tuple[str, ...], device: torch.device
) -> tuple[HeldHead | None, str | None]:
    """The head that is saved next to the backbone, if it has all of these classes; and why there is none."""
    folder = hub.folder_of(spec, Task.SEGMENTATION)
    if folder is None or not (folder / "head.json").exists():
        return None, None
    try:
        made = json.loads((folder / "head.json").read_text(encoding="utf-8"))
        known = [str(name) for name in made["classes"]]
        if any(known.count(name) != 1 for name in classes):
            return None, name_fault(classes, known)
        saved: dict[str, Tensor] = load_file(folder / "head.safetensors", device=str(device))
        order = [known.index(name) for name in classes]
        chosen = {n: t[order] if n.startswith("classify.") else t for n, t in saved.items()}
        kind, read = HeadKind(made.get("kind", HeadKind.CONV)), made.get("blocks")
        blocks = None if read is None else tuple(int(block) for block in read)
    except Exception as error:  # a file that is damaged in any way
        raise ModelError(
            f"model.name '{spec.name}': cannot read the head in {folder} ({error}); "
            "remove head.json to start with a new one"
        ) from error
    return HeldHead(chosen, kind, blocks, head_source(order, len(known))), None


def _shapes(state: dict[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in state.items()}


def _device(module: nn.Module) -> torch.device:
    return next(module.parameters()).device
