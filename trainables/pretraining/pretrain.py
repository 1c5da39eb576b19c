"""Trains the embedded backbones: a tiny YOLOS and a tiny ViT with a segmentation head.

Both are trained on the digits' clean domain only, so that adapting them to a shifted domain is
a real fine-tuning task. Run as

    python -m trainables.pretraining.pretrain detection --to DIR
    python -m trainables.pretraining.pretrain segmentation --to DIR

The result is a folder in hub format: config, safetensors, processor settings.

A YOLOS built from its config starts with all-zero detection tokens and position embeddings:
identical queries that hardly learn. They are drawn from N(0, 1) and N(0, 0.2) here, and while
the detector trains, a linear probe on the patch tokens also learns to classify the digit under each
patch; the probe is discarded afterwards. The probe's dense signal shortens the training.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from transformers import ViTConfig, ViTModel, YolosConfig, YolosForObjectDetection
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil
from transformers.models.yolos.image_processing_pil_yolos import YolosImageProcessorPil

from trainables.data.embedded import CLASSES, Scene, scenes
from trainables.specs.data import Domain, Split
from trainables.tasks.head import SegmentationHead

SIDE, PATCH = 64, 8
BATCH = 32
NORMALISE = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}


def _images(drawn: list[Scene]) -> Tensor:
    stacked = torch.from_numpy(np.stack([s.image for s in drawn])).permute(0, 3, 1, 2)
    return (stacked.float() / 255 - 0.5) / 0.5


def _fit(
    parameters: list[nn.Parameter],
    loss_of: Callable[[Tensor], Tensor],
    *,
    samples: int,
    steps: int,
    learning_rate: float,
    clip: float,
) -> float:
    """Train with AdamW, warmup and cosine decay; returns the seconds that it took."""
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=0.05)
    started = time.monotonic()
    smooth = math.nan
    for step in range(steps):
        factor = min(1.0, (step + 1) / 300) * (0.5 + 0.5 * math.cos(math.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * factor
        loss = loss_of(torch.randint(0, samples, (BATCH,)))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, clip)
        optimizer.step()
        smooth = loss.item() if math.isnan(smooth) else 0.98 * smooth + 0.02 * loss.item()
        if step % 200 == 199:
            print(
                f"step {step + 1}/{steps}  loss {smooth:.4f}  {time.monotonic() - started:.0f} s", flush=True
            )
    return time.monotonic() - started


def pretrain_detection(to: Path, *, steps: int, scenes_drawn: int, seed: int, start: Path | None) -> float:
    """Train the tiny YOLOS and save it to `to`; `start` continues from an earlier folder."""
    torch.manual_seed(seed)
    if start is not None:
        model = YolosForObjectDetection.from_pretrained(start, dtype=torch.float32)
    else:
        config = YolosConfig(
            hidden_size=128,
            num_hidden_layers=5,
            num_attention_heads=4,
            intermediate_size=384,
            image_size=[SIDE, SIDE],
            patch_size=PATCH,
            num_detection_tokens=10,
            use_mid_position_embeddings=False,
            id2label=dict(enumerate(CLASSES)),
            label2id={name: i for i, name in enumerate(CLASSES)},
        )
        model = YolosForObjectDetection(config)
        embeddings = model.vit.embeddings
        nn.init.normal_(embeddings.detection_tokens, std=1.0)
        nn.init.normal_(embeddings.cls_token, std=1.0)
        nn.init.normal_(embeddings.position_embeddings, std=0.2)
    probe = nn.Linear(model.config.hidden_size, len(CLASSES) + 1)
    drawn = list(scenes(Split.TRAIN, scenes_drawn, domain=Domain.CLEAN, side=SIDE, seed=seed + 1))
    pixels = _images(drawn)
    targets = [_detection_target(s) for s in drawn]
    cells = torch.stack([_cells(s) for s in drawn])
    patches = (SIDE // PATCH) ** 2
    model.train()

    def loss_of(chosen: Tensor) -> Tensor:
        out = model(pixels[chosen], labels=[targets[i] for i in chosen.tolist()])
        named = probe(out.last_hidden_state[:, 1 : 1 + patches])
        named_loss = functional.cross_entropy(named.flatten(0, 1), cells[chosen].flatten())
        return cast(Tensor, out.loss + named_loss)

    spent = _fit(
        [*model.parameters(), *probe.parameters()],
        loss_of,
        samples=scenes_drawn,
        steps=steps,
        learning_rate=1e-3 if start is None else 5e-4,
        clip=0.5,
    )
    model.save_pretrained(to)
    YolosImageProcessorPil(size={"height": SIDE, "width": SIDE}, **NORMALISE).save_pretrained(to)
    return spent


def _detection_target(drawn: Scene) -> dict[str, Tensor]:
    boxes = torch.from_numpy(drawn.boxes) / SIDE
    boxes[:, :2] += boxes[:, 2:] / 2
    return {"class_labels": torch.from_numpy(drawn.labels), "boxes": boxes}


def _cells(drawn: Scene) -> Tensor:
    """(patches,) the digit with a box over each patch's centre, otherwise the background class."""
    grid = torch.full((SIDE // PATCH, SIDE // PATCH), len(CLASSES))
    centre = torch.arange(SIDE // PATCH) * PATCH + PATCH / 2
    for (left, top, width, height), label in zip(drawn.boxes, drawn.labels, strict=True):
        rows = (centre >= top) & (centre < top + height)
        columns = (centre >= left) & (centre < left + width)
        grid[rows[:, None] & columns[None, :]] = int(label)
    return grid.flatten()


def pretrain_segmentation(to: Path, *, steps: int, scenes_drawn: int, seed: int) -> float:
    """Train the tiny ViT and its head and save both to `to`."""
    torch.manual_seed(seed)
    config = ViTConfig(
        hidden_size=96,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=192,
        image_size=SIDE,
        patch_size=PATCH,
    )
    model = ViTModel(config, add_pooling_layer=False)
    head = SegmentationHead(config.hidden_size, len(CLASSES) + 1)
    drawn = list(scenes(Split.TRAIN, scenes_drawn, domain=Domain.CLEAN, side=SIDE, seed=seed + 1))
    pixels = _images(drawn)
    masks = torch.from_numpy(np.stack([s.mask for s in drawn])).long()
    grid = (SIDE // PATCH, SIDE // PATCH)
    model.train()

    def loss_of(chosen: Tensor) -> Tensor:
        tokens = model(pixels[chosen]).last_hidden_state[:, 1:]
        return functional.cross_entropy(head(tokens, grid=grid, size=(SIDE, SIDE)), masks[chosen])

    spent = _fit(
        [*model.parameters(), *head.parameters()],
        loss_of,
        samples=scenes_drawn,
        steps=steps,
        learning_rate=2e-3,
        clip=1.0,
    )
    model.save_pretrained(to)
    ViTImageProcessorPil(size={"height": SIDE, "width": SIDE}, **NORMALISE).save_pretrained(to)
    save_file(head.state_dict(), to / "head.safetensors")
    (to / "head.json").write_text(json.dumps({"classes": ["background", *CLASSES]}, indent=2) + "\n")
    return spent


def main() -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("task", choices=["detection", "segmentation"])
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=12_000)
    parser.add_argument("--scenes", type=int, default=20_000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--from", dest="start", type=Path, default=None)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    if asked.task == "detection":
        spent = pretrain_detection(
            asked.to, steps=asked.steps, scenes_drawn=asked.scenes, seed=asked.seed, start=asked.start
        )
    else:
        spent = pretrain_segmentation(asked.to, steps=asked.steps, scenes_drawn=asked.scenes, seed=asked.seed)
    record = {
        "steps": asked.steps,
        "scenes": asked.scenes,
        "seed": asked.seed,
        "batch": BATCH,
        "threads": asked.threads,
        "seconds": round(spent),
        "torch": torch.__version__,
    }
    (asked.to / "pretraining.json").write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
