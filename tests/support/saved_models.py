"""Small random checkpoints of each architecture, saved as local folders in hub format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import (
    BeitConfig,
    BeitModel,
    DeiTConfig,
    DeiTModel,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    DINOv3ViTConfig,
    DINOv3ViTModel,
    PreTrainedModel,
    SiglipConfig,
    SiglipModel,
    SiglipVisionConfig,
    SiglipVisionModel,
    ViTConfig,
    ViTModel,
    YolosConfig,
    YolosForObjectDetection,
)
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil
from transformers.models.yolos.image_processing_pil_yolos import YolosImageProcessorPil

SIDE = 32
SIZES = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2}
VITS = {
    "vit": (ViTConfig, ViTModel, {"intermediate_size": 24, "patch_size": 8}),
    "deit": (DeiTConfig, DeiTModel, {"intermediate_size": 24, "patch_size": 8}),
    "dinov2": (Dinov2Config, Dinov2Model, {"patch_size": 8}),
    "dinov2_with_registers": (
        Dinov2WithRegistersConfig,
        Dinov2WithRegistersModel,
        {"patch_size": 8, "num_register_tokens": 3},
    ),
    "dinov3_vit": (
        DINOv3ViTConfig,
        DINOv3ViTModel,
        {"intermediate_size": 24, "patch_size": 8, "num_register_tokens": 4},
    ),
    "beit": (
        BeitConfig,
        BeitModel,
        {"intermediate_size": 24, "patch_size": 8, "use_relative_position_bias": True, "drop_path_rate": 0.0},
    ),
    "siglip_vision_model": (
        SiglipVisionConfig,
        SiglipVisionModel,
        {"intermediate_size": 24, "patch_size": 8},
    ),
}
"""The architectures of segmentation."""


def save_vit(folder: Path, kind: str = "vit", *, side: int = SIDE, **changes: Any) -> Path:
    """One of `VITS`, pretrained at `SIDE`; its processor resizes to `side`."""
    config, model, own = VITS[kind]
    torch.manual_seed(0)
    pooling = {"add_pooling_layer": False} if kind in ("vit", "deit", "beit") else {}
    saved: PreTrainedModel = model(config(**SIZES, **own, image_size=SIDE, **changes), **pooling)
    _spread(saved)
    saved.save_pretrained(folder)
    ViTImageProcessorPil(size={"height": side, "width": side}).save_pretrained(folder)
    return folder


def save_siglip(folder: Path, *, side: int = SIDE) -> Path:
    """A SigLIP of text and images, whose vision tower has the sizes of `VITS`."""
    torch.manual_seed(0)
    text = SIZES | {"vocab_size": 20, "max_position_embeddings": 8, "intermediate_size": 24}
    vision = SIZES | {"intermediate_size": 24, "patch_size": 8, "image_size": SIDE}
    saved = SiglipModel(SiglipConfig(text_config=text, vision_config=vision))
    _spread(saved)
    saved.save_pretrained(folder)
    ViTImageProcessorPil(size={"height": side, "width": side}).save_pretrained(folder)
    return folder


def save_yolos(folder: Path, *, size: dict[str, int] | None = None, **changes: Any) -> Path:
    """A YOLOS with labels of its own.  size: of its processor, when absent `SIDE` by `SIDE`."""
    settings: dict[str, Any] = {
        "intermediate_size": 24, "image_size": [SIDE, SIDE], "patch_size": 8, "num_detection_tokens": 5,
        "use_mid_position_embeddings": True, "id2label": {0: "a", 1: "b"}, "label2id": {"a": 0, "b": 1},
    }  # fmt: skip
    torch.manual_seed(0)
    saved = YolosForObjectDetection(YolosConfig(**SIZES, **(settings | changes)))
    _spread(saved)
    saved.save_pretrained(folder)
    YolosImageProcessorPil(size=size or {"height": SIDE, "width": SIDE}).save_pretrained(folder)
    return folder


def _spread(model: PreTrainedModel) -> None:
    """Draw tokens and position embeddings that are 0 in a new model, so that each has an effect."""
    for name, parameter in model.named_parameters():
        if "embed" in name or "token" in name or "position" in name:
            torch.nn.init.normal_(parameter, std=0.5)
