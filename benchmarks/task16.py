"""The fixed task of `benchmarks.sixteen_trials`: 16 or 32 LoRA configurations of one fine-tuning problem.

Tiny ViT (the first two blocks of the embedded segmentation backbone, with its head), embedded scenes
of the inverted domain at 32 pixels, 320 training and 64 validation images, batches of 8, so 5 epochs
of 40 steps; AdamW, cosine decay, cross-entropy. Small, so that several programs can run three times
each on 2 cores within a quarter of an hour. With batches of 2 an epoch has the same images, so 160 steps.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
from pathlib import Path

EPOCHS, BATCH, TRAIN, VALIDATION, SIDE = 5, 8, 320, 64, 32
BLOCKS = 2
DOMAIN = "inverted"
WEIGHT_DECAY, WARMUP, CLIP = 0.01, 0.05, 1.0
RANKS = (2, 4, 8, 16)
RATES = {16: (1e-3, 2e-3, 4e-3, 8e-3), 32: tuple(1e-3 * 2 ** (step / 2) for step in range(8))}
"""The learning rates by the number of trials: 32 trials have one more between each two, and one above."""
FOLDER = "ADAPTERTUNE_BENCH_BACKBONE"
"""Environment variable with the folder of the backbone, which all programs load."""


def configurations(trials: int) -> list[dict[str, float]]:
    """The configurations of a run with 16 or 32 trials."""
    return [
        {"rank": rank, "alpha": 2.0 * rank, "learning_rate": rate}
        for rank, rate in itertools.product(RANKS, RATES[trials])
    ]


def add_options(parser: argparse.ArgumentParser) -> None:
    """The size of the task, as every program of the benchmark takes it."""
    parser.add_argument("--trials", type=int, choices=sorted(RATES), default=16)
    parser.add_argument("--batch", type=int, choices=(8, 2), default=BATCH, help="images in a step")


def backbone() -> Path:
    """Return the folder of the tiny ViT and its head."""
    return Path(os.environ[FOLDER])


def save_backbone(folder: Path) -> None:
    """Write the tiny ViT into `folder`, in hub format."""
    from transformers import ViTModel

    from trainables.backbones import EMBEDDED
    from trainables.specs.workload import Task

    whole = EMBEDDED[Task.SEGMENTATION]
    model = ViTModel.from_pretrained(whole, num_hidden_layers=BLOCKS, add_pooling_layer=False)
    model.save_pretrained(folder)
    for name in ("preprocessor_config.json", "head.json", "head.safetensors"):
        shutil.copy(whole / name, folder / name)
