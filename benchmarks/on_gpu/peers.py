"""One trial with transformers and peft alone, as a careful user writes it for a GPU."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.on_gpu.models import Sizes, random_batches, scaled

RANK, ALPHA, CLIP, RATE, DECAY = 8, 16.0, 1.0, 1e-3, 0.01

Compile = Callable[[nn.Module], Any]


class PlainSegmenter(nn.Module):
    """ViT patch tokens -> 3×3 conv -> ReLU -> 1×1 conv -> bilinear upsampling."""

    def __init__(self, folder: Path, sizes: Sizes, *, lora: bool = True) -> None:
        super().__init__()
        from transformers import ViTModel

        self.vit: Any = ViTModel.from_pretrained(folder, add_pooling_layer=False).requires_grad_(False)
        if lora:
            settings = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=["q_proj", "v_proj"])
            self.vit = get_peft_model(self.vit, settings)
        self.reduce = nn.Conv2d(sizes.hidden, sizes.hidden // 2, 3, padding=1)
        self.classify = nn.Conv2d(sizes.hidden // 2, sizes.classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> float32 logits (B, classes, H, W)."""
        tokens = self.vit(images).last_hidden_state[:, 1:]
        return self.decoded(tokens, images.shape[-2:])

    def decoded(self, tokens: Tensor, size: torch.Size) -> Tensor:
        """(B, patches, hidden) -> float32 logits (B, classes, *size)."""
        side = math.isqrt(tokens.shape[1])
        maps = tokens.transpose(1, 2).reshape(len(tokens), -1, side, side)
        scores = self.classify(functional.relu(self.reduce(maps))).float()
        return functional.interpolate(scores, size=size, mode="bilinear", align_corners=False)


class PlainHead(PlainSegmenter):
    """The segmenter's head over tokens that the frozen backbone gave before."""

    def __init__(self, folder: Path, sizes: Sizes, tokens: Tensor) -> None:
        super().__init__(folder, sizes, lora=False)
        del self.vit
        self.register_buffer("tokens", tokens)

    def forward(self, images: Tensor) -> Tensor:
        """See `PlainSegmenter`; of the images it needs their size."""
        return self.decoded(self.get_buffer("tokens"), images.shape[-2:])


def plain_detector(folder: Path) -> nn.Module:
    """YOLOS with LoRA; its heads train as well."""
    from transformers import YolosForObjectDetection

    detector = YolosForObjectDetection.from_pretrained(folder)
    # The heads are tied in name only; PEFT would search for embeddings, which a detector lacks.
    detector._tied_weights_keys = None
    lora = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=["query", "value"])
    whole: Any = get_peft_model(detector, lora)
    inner = whole.base_model.model
    for head in (inner.class_labels_classifier, inner.bbox_predictor):
        head.requires_grad_(True)
    model: nn.Module = whole
    return model


class PlainTrial:
    """A trial that takes its steps alone."""

    def __init__(
        self,
        model: nn.Module,
        sizes: Sizes,
        device: torch.device,
        *,
        number: int = 0,
        bf16: bool = True,
        rate: float = RATE,
        compiled: Compile | None = None,
    ) -> None:
        self.model = model.to(device).train()
        self._forward = compiled(self.model) if compiled else self.model
        self._trained = [p for p in self.model.parameters() if p.requires_grad]
        self._optimizer = torch.optim.AdamW(self._trained, lr=rate, weight_decay=DECAY, fused=True)
        self._schedule = torch.optim.lr_scheduler.ConstantLR(self._optimizer, factor=1.0)
        self._precision = torch.autocast(device.type, torch.bfloat16, enabled=bf16)
        # Its images are scaled before the clock starts: a data loader does that in other processes.
        self._batches = [
            (scaled(b.images), b.targets, None if b.masks is None else b.masks.long())
            for b in random_batches(sizes, number, device)
        ]
        self._done = 0

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Begin with these trained weights."""
        own = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        if own.keys() != weights.keys():
            raise ValueError(f"other parameters train: {sorted(own.keys() ^ weights.keys())[:4]}")
        with torch.no_grad():
            for name, parameter in own.items():
                parameter.copy_(weights[name])

    def step(self) -> Tensor:
        """Take a step; returns its loss."""
        images, targets, masks = self._batches[self._done % len(self._batches)]
        self._done += 1
        with self._precision:
            found = self._forward(images)
        loss = self._loss(found, targets, masks)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._trained, CLIP)
        self._optimizer.step()
        self._schedule.step()
        return loss.detach()

    def _loss(self, found: Any, targets: Any, masks: Tensor | None) -> Tensor:
        if masks is not None:
            return functional.cross_entropy(found, masks)
        inner: Any = self.model
        inner = inner.base_model.model
        # As the model computes it when it is given labels, which `torch.compile` could not follow.
        loss: Tensor = inner.loss_function(
            found.logits.float(),
            targets,
            found.logits.device,
            found.pred_boxes.float(),
            inner.config,
            None,
            None,
        )[0]
        return loss
