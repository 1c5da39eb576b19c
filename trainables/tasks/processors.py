"""Reads image processors without torchvision, also those that transformers has for torchvision alone.

Such a processor is read as another one that does the same with the same settings, and that Pillow can run; in
an export it has that name too, so that the folder can be used without torchvision.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

_IMAGENET: dict[str, Any] = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
_BILINEAR = {"resample": 2}


@dataclass(frozen=True)
class Substitute:
    """A processor that does the same. defaults: what the other one takes for settings that a file lacks."""

    name: str
    defaults: dict[str, Any] = field(default_factory=dict)


SUBSTITUTES = {
    "DINOv3ViTImageProcessor": Substitute(
        "ViTImageProcessor", {"size": {"height": 224, "width": 224}, **_IMAGENET, **_BILINEAR}
    ),
    "RfDetrImageProcessor": Substitute(
        "RTDetrImageProcessor",
        {
            "size": {"shortest_edge": 800, "longest_edge": 1333},
            "do_normalize": True,
            "do_pad": True,
            "antialias": False,  # its own way of resizing, which its settings do not name
            **_IMAGENET,
            **_BILINEAR,
        },
    ),
}
"""For the processors that transformers 5.24 has for torchvision alone."""

OF_MODELS = {
    "dab-detr": "ConditionalDetrImageProcessor",
    "d_fine": "RTDetrImageProcessor",
    "rt_detr_v2": "RTDetrImageProcessor",
    "dinov3_vit": "DINOv3ViTImageProcessor",
    "rf_detr": "RfDetrImageProcessor",
}
"""The processors of models that `AutoImageProcessor` does not find by their type, or only for torchvision."""


def read_image_processor(where: str, **options: Any) -> Any:
    """The processor of a folder or a hub id, on Pillow. options: of `from_pretrained`.

    Raises what transformers raises, among others OSError if there is no such file.
    """
    from transformers import AutoConfig, AutoImageProcessor
    from transformers.image_processing_base import ImageProcessingMixin
    from transformers.models.auto.image_processing_auto import get_image_processor_class_from_name

    reading = {key: value for key, value in options.items() if key != "trust_remote_code"}
    try:
        settings: dict[str, Any] = ImageProcessingMixin.get_image_processor_dict(where, **reading)[0]
    except Exception:  # it is read once more, and its error raised, by transformers
        return AutoImageProcessor.from_pretrained(where, backend="pil", **options)
    named = settings.get("image_processor_type")
    if named is None and "feature_extractor_type" not in settings:
        with suppress(Exception):  # a model that transformers does not know
            named = OF_MODELS.get(AutoConfig.from_pretrained(where, **options).model_type)
    kind = (named or "").removesuffix("Fast").removesuffix("Pil")
    substitute = SUBSTITUTES.get(kind) or (Substitute(kind) if kind in OF_MODELS.values() else None)
    if substitute is None or "auto_map" in settings:
        return AutoImageProcessor.from_pretrained(where, backend="pil", **options)
    return get_image_processor_class_from_name(f"{substitute.name}Pil").from_dict(
        {**substitute.defaults, **settings, "image_processor_type": substitute.name}
    )
