"""The fixed task of `benchmarks.sixteen_trials`: 16 LoRA configurations of one fine-tuning problem.

Tiny ViT (the embedded segmentation backbone), embedded scenes of the inverted domain, 320 training
and 64 validation images, batches of 8, so 5 epochs of 40 steps; AdamW, cosine decay, cross-entropy.
"""

from __future__ import annotations

import itertools
from importlib import resources
from pathlib import Path

EPOCHS, BATCH, TRAIN, VALIDATION, SIDE = 5, 8, 320, 64, 32
DOMAIN = "inverted"
WEIGHT_DECAY, WARMUP, CLIP = 0.01, 0.05, 1.0
CONFIGURATIONS = [
    {"rank": rank, "alpha": 2.0 * rank, "learning_rate": rate}
    for rank, rate in itertools.product((2, 4, 8, 16), (1e-3, 2e-3, 4e-3, 8e-3))
]


def backbone() -> Path:
    """The folder of the tiny ViT and its head."""
    return Path(str(resources.files("trainables") / "backbones" / "vit_digits"))
