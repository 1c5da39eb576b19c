"""The models of the GPU benchmark, from their configs with seeded random weights, and random images."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainables.data.loader import Batch

BOXES = 7
"""Boxes in each image."""
MEAN = STD = 0.5
BATCHES = 2
"""Different batches of a trial, which its steps take in turn."""


@dataclass(frozen=True)
class Sizes:
    """A model and how it is trained.

    image: (height, width).  trials: of the sweep.  packs: the numbers of trials in a pack that are measured.
    """

    image: tuple[int, int]
    patch: int
    hidden: int
    layers: int
    heads: int
    classes: int
    batch: int
    trials: int
    packs: tuple[int, ...]
    queries: int = 0


VIT = Sizes((224, 224), 16, 768, 12, 12, classes=21, batch=8, trials=16, packs=(1, 2, 4, 8, 16))
YOLOS = Sizes((512, 864), 16, 384, 12, 6, classes=91, batch=2, trials=8, packs=(1, 2, 4, 8), queries=100)
SMALL_VIT = Sizes((32, 32), 8, 32, 2, 2, classes=3, batch=2, trials=4, packs=(1, 4))
SMALL_YOLOS = Sizes((32, 48), 8, 32, 2, 2, classes=3, batch=2, trials=4, packs=(1, 4), queries=10)


def save_vit(folder: Path, sizes: Sizes) -> None:
    """Write a ViT in hub format."""
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(**_common(sizes), image_size=sizes.image[0], attn_implementation="sdpa")
    torch.manual_seed(0)
    ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    _save_processor(folder, "ViTImageProcessor", sizes)


def save_yolos(folder: Path, sizes: Sizes) -> None:
    """Write a YOLOS in hub format, whose tokens and positions, zero in a new model, are random as well."""
    from transformers import YolosConfig, YolosForObjectDetection

    config = YolosConfig(
        **_common(sizes),
        image_size=list(sizes.image),
        num_detection_tokens=sizes.queries,
        use_mid_position_embeddings=True,
        id2label=dict(enumerate(names(sizes))),
        attn_implementation="sdpa",
    )
    torch.manual_seed(0)
    model = YolosForObjectDetection(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not name.endswith(".bias") and not parameter.any():
                parameter.normal_(std=0.02)
    model.save_pretrained(folder)
    _save_processor(folder, "YolosImageProcessor", sizes)


def names(sizes: Sizes) -> tuple[str, ...]:
    """The names of the classes."""
    return tuple(f"class {number}" for number in range(sizes.classes))


def _common(sizes: Sizes) -> dict[str, Any]:
    return {
        "hidden_size": sizes.hidden,
        "intermediate_size": 4 * sizes.hidden,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "patch_size": sizes.patch,
    }


def _save_processor(folder: Path, kind: str, sizes: Sizes) -> None:
    settings = {
        "image_processor_type": kind,
        "do_resize": True,
        "size": {"height": sizes.image[0], "width": sizes.image[1]},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [MEAN] * 3,
        "image_std": [STD] * 3,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings), encoding="utf-8")


def random_batches(sizes: Sizes, trial: int, device: torch.device) -> list[Batch]:
    """The batches of one trial, on the device."""
    generator = torch.Generator().manual_seed(1000 + trial)
    return [_batch(sizes, generator).to(device) for _ in range(BATCHES)]


def _batch(sizes: Sizes, generator: torch.Generator) -> Batch:
    size = (sizes.batch, *sizes.image)
    images = torch.randint(0, 256, (sizes.batch, 3, *sizes.image), dtype=torch.uint8, generator=generator)
    masks = targets = None
    if sizes.queries:
        targets = [_targets(sizes, generator) for _ in range(sizes.batch)]
    else:
        masks = torch.randint(0, sizes.classes, size, dtype=torch.uint8, generator=generator)
    return Batch(
        images=images,
        valid=[sizes.image] * sizes.batch,
        targets=targets,
        masks=masks,
        indices=list(range(sizes.batch)),
    )


def _targets(sizes: Sizes, generator: torch.Generator) -> dict[str, Tensor]:
    centers = 0.3 + 0.4 * torch.rand((BOXES, 2), generator=generator)
    sides = 0.05 + 0.4 * torch.rand((BOXES, 2), generator=generator)
    return {
        "class_labels": torch.randint(0, sizes.classes, (BOXES,), generator=generator),
        "boxes": torch.cat([centers, sides], dim=1),
    }


def scaled(images: Tensor) -> Tensor:
    """Images as a processor gives them: float32."""
    return (images.float() / 255 - MEAN) / STD
