"""Fine-tuning with transformers and peft alone, as a careful user writes it; shared by all peers.

Data is generated once and held in memory; the loop normalises, trains and evaluates once per epoch.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset
from transformers import AutoImageProcessor, ViTModel

from benchmarks.task16 import (
    BATCH,
    CLIP,
    DOMAIN,
    EPOCHS,
    SIDE,
    WARMUP,
    WEIGHT_DECAY,
    backbone,
)
from trainables.data.embedded import scenes
from trainables.specs.data import Domain, Split


class Segmenter(nn.Module):
    """ViT patch tokens -> 3×3 conv -> ReLU -> 1×1 conv -> bilinear upsampling."""

    def __init__(self) -> None:
        super().__init__()
        self.vit: Any = ViTModel.from_pretrained(backbone(), add_pooling_layer=False)
        hidden = self.vit.config.hidden_size
        classes = len(json.loads((backbone() / "head.json").read_text())["classes"])
        self.reduce = nn.Conv2d(hidden, hidden // 2, 3, padding=1)
        self.classify = nn.Conv2d(hidden // 2, classes, 1)
        self.load_state_dict(load_file(backbone() / "head.safetensors"), strict=False)

    def forward(self, pixels: Tensor) -> Tensor:
        tokens = self.vit(pixels, interpolate_pos_encoding=True).last_hidden_state[:, 1:]
        side = math.isqrt(tokens.shape[1])
        maps = tokens.transpose(1, 2).reshape(len(tokens), -1, side, side)
        scores = self.classify(functional.relu(self.reduce(maps)))
        return functional.interpolate(scores, size=pixels.shape[-2:], mode="bilinear", align_corners=False)


def data(split: Split, count: int, side: int = SIDE) -> TensorDataset:
    processor = AutoImageProcessor.from_pretrained(
        backbone(), backend="pil", size={"height": side, "width": side}
    )
    drawn = list(scenes(split, count, domain=Domain(DOMAIN), side=side))
    pixels = processor([s.image for s in drawn], return_tensors="pt")["pixel_values"]
    return TensorDataset(pixels, torch.from_numpy(np.stack([s.mask for s in drawn])).long())


def train(
    configuration: dict[str, Any],
    training: TensorDataset,
    validation: TensorDataset,
    report: Callable[[int, float], None],
    *,
    batch: int = BATCH,
) -> float:
    """Fine-tune one LoRA configuration; returns the best validation Dice, the background included."""
    torch.manual_seed(0)
    model = Segmenter()
    lora = LoraConfig(
        r=configuration["rank"], lora_alpha=configuration["alpha"], target_modules=["q_proj", "v_proj"]
    )
    model.vit = get_peft_model(model.vit, lora)
    return fit(
        model,
        training,
        batch=batch,
        epochs=EPOCHS,
        learning_rate=configuration["learning_rate"],
        score=lambda: dice(model, validation),
        report=report,
    )


def fit(
    model: nn.Module,
    training: TensorDataset,
    *,
    batch: int,
    epochs: int,
    learning_rate: float,
    score: Callable[[], float],
    report: Callable[[int, float], None],
    penalty: Callable[[], Tensor] | None = None,
    after_step: Callable[[int], None] | None = None,
) -> float:
    """Train, and report the score after each epoch; returns the best score.

    penalty: added to the loss.  after_step: is called with the number of steps, while gradients are there.
    """
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=learning_rate, weight_decay=WEIGHT_DECAY)
    loader = DataLoader(training, batch_size=batch, shuffle=True)
    total = epochs * len(loader)

    def factor(step: int) -> float:
        warmup = WARMUP * total
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 + 0.5 * math.cos(math.pi * (step - warmup) / (total - warmup))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    best, steps = 0.0, 0
    for epoch in range(epochs):
        model.train()
        for pixels, masks in loader:
            loss = functional.cross_entropy(model(pixels), masks)
            if penalty is not None:
                loss = loss + penalty()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(trainable, CLIP)
            optimizer.step()
            schedule.step()
            steps += 1
            if after_step is not None:
                after_step(steps)
        reached = score()
        best = max(best, reached)
        report(epoch + 1, reached)
    return best


def dice(model: nn.Module, validation: TensorDataset, *, background: bool = True) -> float:
    """Mean Dice from one confusion matrix, over all classes or all but the background."""
    model.eval()
    counts: Tensor | None = None
    with torch.inference_mode():
        for pixels, masks in DataLoader(validation, batch_size=32):
            scores = model(pixels)
            classes = scores.shape[1]
            flat = (masks * classes + scores.argmax(1)).flatten()
            counted = torch.bincount(flat, minlength=classes**2).view(classes, classes)
            counts = counted if counts is None else counts + counted
    assert counts is not None
    first = 0 if background else 1
    sums = (counts.sum(0) + counts.sum(1))[first:]
    return float((2 * counts.diag()[first:] / sums)[sums > 0].mean())
