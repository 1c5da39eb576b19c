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
    EomtConfig,
    EomtDinov3Config,
    EomtDinov3ForUniversalSegmentation,
    EomtForUniversalSegmentation,
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    PreTrainedModel,
    SegformerConfig,
    SegformerForSemanticSegmentation,
    SiglipConfig,
    SiglipModel,
    SiglipVisionConfig,
    SiglipVisionModel,
    SwinConfig,
    ViTConfig,
    ViTModel,
    YolosConfig,
    YolosForObjectDetection,
)
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil
from transformers.models.yolos.image_processing_pil_yolos import YolosImageProcessorPil

SIDE = 32
SIZES = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2}
VITS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
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


LABELS = {"id2label": {0: "ground", 1: "a", 2: "b"}, "label2id": {"ground": 0, "a": 1, "b": 2}}
QUERIES = {"num_queries": 6, "train_num_points": 128}
_EOMT = SIZES | QUERIES | {"image_size": SIDE, "patch_size": 8, "num_blocks": 2, "num_upscale_blocks": 1}
OWN_HEADS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "segformer": (
        SegformerConfig,
        SegformerForSemanticSegmentation,
        {
            "hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 1, 2, 2],
            "decoder_hidden_size": 16, "mlp_ratios": [2, 2, 2, 2], "drop_path_rate": 0.0,
        },
    ),
    "mask2former": (
        Mask2FormerConfig,
        Mask2FormerForUniversalSegmentation,
        QUERIES | {
            "hidden_dim": 32, "feature_size": 32, "mask_feature_size": 32, "encoder_feedforward_dim": 24,
            "dim_feedforward": 24, "encoder_layers": 1, "decoder_layers": 3, "num_attention_heads": 2,
        },
    ),
    "eomt": (EomtConfig, EomtForUniversalSegmentation, _EOMT | {"mlp_ratio": 2, "num_register_tokens": 2}),
    "eomt_dinov3": (
        EomtDinov3Config,
        EomtDinov3ForUniversalSegmentation,
        _EOMT | {"intermediate_size": 24, "num_register_tokens": 2},
    ),
}  # fmt: skip
"""The architectures with heads of their own, whose labels are ground, a and b."""
SWIN = {
    "image_size": SIDE, "embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2], "window_size": 4,
    "drop_path_rate": 0.0, "out_features": ["stage1", "stage2", "stage3", "stage4"],
}  # fmt: skip


LARGE = 64
"""The side of images for models whose coarsest map has a value for each 32 pixels."""


def save_own_head(folder: Path, kind: str, *, side: int | None = None, **changes: Any) -> Path:
    """One of `OWN_HEADS`; its processor resizes to `side`, which every kind takes when absent."""
    side = side or (LARGE if kind in ("segformer", "mask2former") else SIDE)
    config, model, own = OWN_HEADS[kind]
    torch.manual_seed(0)
    given = own | LABELS | changes
    if kind == "mask2former":
        given = {"backbone_config": SwinConfig(**SWIN)} | given
    saved: PreTrainedModel = model(config(**given))
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
        if any(
            part in name
            for part in ("embed", "token", "position", "query.weight", "class_predictor", "mask_")
        ):
            torch.nn.init.normal_(parameter, std=0.5)
