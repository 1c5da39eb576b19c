"""The fixed task of `benchmarks.sixteen_trials`: 16 LoRA configurations of one fine-tuning problem.

Tiny ViT (the first two blocks of the embedded segmentation backbone, with its head), embedded scenes
of the inverted domain at 32 pixels, 320 training and 64 validation images, batches of 8, so 5 epochs
of 40 steps; AdamW, cosine decay, cross-entropy. Small, so that three programs can run three times
each on 2 cores within 15 minutes.
"""

from __future__ import annotations

import itertools
import os
import shutil
from pathlib import Path

EPOCHS, BATCH, TRAIN, VALIDATION, SIDE = 5, 8, 320, 64, 32
BLOCKS = 2
DOMAIN = "inverted"
WEIGHT_DECAY, WARMUP, CLIP = 0.01, 0.05, 1.0
CONFIGURATIONS = [
    {"rank": rank, "alpha": 2.0 * rank, "learning_rate": rate}
    for rank, rate in itertools.product((2, 4, 8, 16), (1e-3, 2e-3, 4e-3, 8e-3))
]
FOLDER = "ADAPTERTUNE_BENCH_BACKBONE"
"""Environment variable with the folder of the backbone, which the three programs load."""


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
