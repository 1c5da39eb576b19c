"""Small random detectors of every family, saved as local folders in hub format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForInstanceSegmentation,
    AutoModelForObjectDetection,
    HGNetV2Config,
    PreTrainedModel,
    ResNetConfig,
    RTDetrResNetConfig,
)
from transformers.models.conditional_detr.image_processing_pil_conditional_detr import (
    ConditionalDetrImageProcessorPil,
)
from transformers.models.deformable_detr.image_processing_pil_deformable_detr import (
    DeformableDetrImageProcessorPil,
)
from transformers.models.detr.image_processing_pil_detr import DetrImageProcessorPil
from transformers.models.rt_detr.image_processing_pil_rt_detr import RTDetrImageProcessorPil

LABELS = {0: "cat", 1: "N/A", 2: "dog"}
SIDE = 64
"""Both sides of images for models that take one size only."""
QUERIES = 8

_DETRS = {
    "detr": DetrImageProcessorPil,
    "table-transformer": DetrImageProcessorPil,
    "conditional_detr": ConditionalDetrImageProcessorPil,
    "dab-detr": ConditionalDetrImageProcessorPil,
    "deformable_detr": DeformableDetrImageProcessorPil,
}
_PYRAMID = {
    "encoder_hidden_dim": 32, "encoder_in_channels": [16, 16, 16], "feat_strides": [8, 16, 32],
    "encoder_layers": 1, "encoder_ffn_dim": 32, "encoder_attention_heads": 2, "d_model": 32,
    "num_queries": QUERIES, "decoder_in_channels": [32, 32, 32], "decoder_ffn_dim": 32, "decoder_layers": 2,
    "decoder_attention_heads": 2, "decoder_n_points": 2, "num_feature_levels": 3, "num_denoising": 8,
}  # fmt: skip
_REFINED = _PYRAMID | {"decoder_n_points": [2, 2, 2], "hidden_size": 32}
_GROUPED = {
    "d_model": 32, "decoder_ffn_dim": 32, "decoder_layers": 2, "decoder_self_attention_heads": 2,
    "decoder_cross_attention_heads": 2, "num_queries": QUERIES, "group_detr": 3, "decoder_n_points": 2,
    "dropout": 0.0,
}  # fmt: skip
_WINDOWED = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "patch_size": 8}

KINDS: Mapping[str, tuple[str, dict[str, Any]]] = {
    **{kind: (kind, {}) for kind in _DETRS},
    "deformable_detr, refined": ("deformable_detr", {"with_box_refine": True}),
    "deformable_detr, two-stage": (
        "deformable_detr",
        {"with_box_refine": True, "two_stage": True, "two_stage_num_proposals": 4},
    ),
    **{kind: (kind, {}) for kind in ("rt_detr", "rt_detr_v2", "d_fine", "deimv2", "lw_detr", "rf_detr")},
}
"""What `save_detector` takes: a family, and settings of it."""
MODERN = frozenset({"rt_detr", "rt_detr_v2", "d_fine", "deimv2", "lw_detr", "rf_detr"})
"""Those with a loss that transformers computes, for images of `SIDE` by `SIDE` pixels."""


def save_detector(folder: Path, kind: str, **changes: Any) -> Path:
    """A random model of one of `KINDS`, with its processor."""
    family, own = KINDS[kind]
    torch.manual_seed(0)
    labels = {"id2label": LABELS, "label2id": {name: number for number, name in LABELS.items()}}
    config = AutoConfig.for_model(family, **(_settings(family) | labels | own | changes))
    model: PreTrainedModel = AutoModelForObjectDetection.from_config(config)
    for name, parameter in model.named_parameters():
        if family not in MODERN and name.startswith(("class_", "bbox_")):
            torch.nn.init.normal_(parameter, std=0.3)
        if family in MODERN and ".backbone" not in name and "class_embed" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    processor(family).save_pretrained(folder)
    return folder


def save_instance_detector(folder: Path, family: str = "rf_detr", **changes: Any) -> Path:
    """A random model that gives a mask for each box, with its processor."""
    torch.manual_seed(0)
    labels = {"id2label": LABELS, "label2id": {name: number for number, name in LABELS.items()}}
    config = AutoConfig.for_model(family, **(_settings(family) | labels | changes))
    model: PreTrainedModel = AutoModelForInstanceSegmentation.from_config(config)
    for name, parameter in model.named_parameters():
        if ".backbone" not in name and "class_embed" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    processor(family).save_pretrained(folder)
    return folder


def processor(family: str) -> Any:
    """A processor for small images."""
    if family in _DETRS:
        return _DETRS[family](size={"shortest_edge": 32, "longest_edge": 48})
    size = {"height": SIDE, "width": SIDE}
    return (DeformableDetrImageProcessorPil if family == "lw_detr" else RTDetrImageProcessorPil)(size=size)


def resnet_pyramid() -> RTDetrResNetConfig:
    """A backbone with three maps."""
    return RTDetrResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16, 16, 16], depths=[1, 1, 1, 1], layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip


def _settings(family: str) -> dict[str, Any]:
    match family:
        case "rt_detr" | "rt_detr_v2":
            return {**_PYRAMID, "backbone_config": resnet_pyramid()}
        case "d_fine" | "deimv2":
            return {**_REFINED, "backbone_config": _hgnet()}
        case "rf_detr":
            windows = {"image_size": SIDE, "num_windows": 2, "out_features": ["stage1", "stage3"]}
            return {**_GROUPED, "backbone_config": {"model_type": "rf_detr_dinov2", **_WINDOWED, **windows}}
        case "lw_detr":
            windows = {"image_size": SIDE, "pretrain_image_size": SIDE, "num_windows": 4}
            places: dict[str, Any] = {"window_block_indices": [0, 2], "out_indices": [1, 3]}
            backbone = {"model_type": "lw_detr_vit", **_WINDOWED, **windows, **places}
            return {**_GROUPED, "projector_scale_factors": [1.0], "backbone_config": backbone}
    deformable = family == "deformable_detr"
    stages = ["stage3", "stage4"] if deformable else ["stage4"]
    resnet = ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1], layer_type="basic",
        out_features=stages,
    )  # fmt: skip
    wide = "hidden_size" if family == "dab-detr" else "d_model"
    return {
        "backbone_config": resnet, "use_timm_backbone": False, "use_pretrained_backbone": False,
        "backbone": None, wide: 64, "encoder_layers": 1, "decoder_layers": 2, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "num_queries": 6,
        "auxiliary_loss": True, **({"num_feature_levels": 2} if deformable else {}),
    }  # fmt: skip


def _hgnet() -> HGNetV2Config:
    return HGNetV2Config(
        stem_channels=[3, 8, 8], stage_in_channels=[8, 16, 16, 16], stage_mid_channels=[8, 8, 8, 8],
        stage_out_channels=[16, 16, 16, 16], stage_num_blocks=[1, 1, 1, 1],
        stage_downsample=[False, True, True, True], stage_light_block=[False, False, True, True],
        stage_kernel_size=[3, 3, 5, 5], stage_numb_of_layers=[1, 1, 1, 1], embedding_size=8,
        hidden_sizes=[16, 16, 16, 16], depths=[1, 1, 1, 1], out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
