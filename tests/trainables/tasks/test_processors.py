"""Processors that transformers has for torchvision alone, or does not find, are read on Pillow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.models import auto as models
from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES

from trainables.data.files.pixels import resized
from trainables.data.resize import Interpolation
from trainables.errors import ModelError
from trainables.specs.workload import ModelSpec, Task
from trainables.tasks import hub
from trainables.tasks.detectors import DETECTOR_FAMILIES
from trainables.tasks.processors import OF_MODELS, SUBSTITUTES

SETTINGS: dict[str, dict[str, Any]] = {
    "dab-detr": {"size": {"height": 64, "width": 96}},
    "d_fine": {"size": {"height": 64, "width": 96}},
    "rt_detr_v2": {"size": {"height": 64, "width": 96}, "do_normalize": True},
    "dinov3_vit": {"image_processor_type": "DINOv3ViTImageProcessorFast"},
    "rf_detr": {"image_processor_type": "RfDetrImageProcessor", "size": {"height": 64, "width": 64}},
}


def write(folder: Path, model_type: str, settings: dict[str, Any]) -> Path:
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    return folder


@pytest.mark.parametrize("model_type", OF_MODELS)
@pytest.mark.parametrize("named", [True, False])
def test_settings_of_the_file_and_defaults_of_its_class(tmp_path: Path, model_type: str, named: bool) -> None:
    own = dict(SETTINGS[model_type])
    if named:
        own["image_processor_type"] = OF_MODELS[model_type]
    else:
        own.pop("image_processor_type", None)
    write(tmp_path, model_type, own)
    read = hub.read_processor(ModelSpec(name=str(tmp_path)), Task.DETECTION)
    scale = hub.scale_from(read)
    if model_type in ("dab-detr", "d_fine", "rt_detr_v2"):
        assert dict(read.size)["width"] == 96
        plain = model_type == "d_fine"  # the processor of RT-DETR does not normalise by itself
        assert scale.mean == ((0.0, 0.0, 0.0) if plain else (0.485, 0.456, 0.406))
    else:
        assert scale.mean == (0.485, 0.456, 0.406)
        assert scale.std == (0.229, 0.224, 0.225)
        assert dict(read.size)["height"] == (224 if model_type == "dinov3_vit" else 64)
    picture = Image.fromarray(np.zeros((64, 96, 3), np.uint8))
    assert read(picture, return_tensors="pt")["pixel_values"].shape[1] == 3
    # A folder that it is saved to can be read without torchvision, by transformers' own class.
    read.save_pretrained(tmp_path / "saved")
    again = models.AutoImageProcessor.from_pretrained(tmp_path / "saved", backend="pil")
    assert dict(again.size) == dict(read.size)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "rf_detr"}))
    with pytest.raises(ModelError, match="cannot read its image processor settings"):
        hub.read_processor(ModelSpec(name=str(tmp_path)), Task.DETECTION)


def test_every_family_without_a_pillow_processor_has_a_substitute() -> None:
    for name in (*DETECTOR_FAMILIES, "dinov3_vit"):
        known = IMAGE_PROCESSOR_MAPPING_NAMES.get(
            name.replace("-", "_"), IMAGE_PROCESSOR_MAPPING_NAMES.get(name)
        )
        if known is None:
            assert name in OF_MODELS, name
        elif "pil" not in known:
            assert known["torchvision"] in SUBSTITUTES


@pytest.mark.parametrize("model_type", OF_MODELS)
def test_pixels_are_those_of_the_torchvision_processor_where_that_is_installed(
    tmp_path: Path, model_type: str
) -> None:
    pytest.importorskip("torchvision", reason="torchvision is not installed")
    write(tmp_path, model_type, {"image_processor_type": OF_MODELS[model_type], **SETTINGS[model_type]})
    spec = ModelSpec(name=str(tmp_path))
    own = hub.read_processor(spec, Task.DETECTION)
    theirs = models.AutoImageProcessor.from_pretrained(tmp_path, backend="torchvision")
    draw = np.random.default_rng(0)
    smooth = Image.fromarray(draw.integers(0, 256, (12, 9, 3), dtype=np.uint8)).resize((150, 200))
    expected = theirs(smooth, return_tensors="pt")["pixel_values"]
    rule = hub.resize_from(own, spec)
    planes = resized(smooth, rule.target(smooth.height, smooth.width), rule.interpolation).transpose(2, 0, 1)
    found = hub.scale_from(own)(torch.from_numpy(planes[None].copy()))
    assert found.shape == expected.shape
    # Both resize to whole numbers of 0 to 255 or to floats; scaled by the std, a step of 1 is up to 1/57.
    assert float((found - expected).abs().max()) <= 1.01 / 57


def test_the_interpolation_is_the_processors(tmp_path: Path) -> None:
    spec = ModelSpec(name=str(tmp_path))
    for model_type, settings, expected in (
        ("rf_detr", {"image_processor_type": "RfDetrImageProcessor"}, Interpolation.BILINEAR_POINTS),
        ("rt_detr", {"image_processor_type": "RTDetrImageProcessor"}, Interpolation.BILINEAR),
        ("deit", {"image_processor_type": "DeiTImageProcessor"}, Interpolation.BICUBIC),
        ("vit", {"image_processor_type": "ViTImageProcessor", "resample": 1}, Interpolation.LANCZOS),
    ):
        write(tmp_path, model_type, settings)
        read = hub.read_processor(spec, Task.SEGMENTATION)
        assert hub.resize_from(read, spec).interpolation is expected
        read.save_pretrained(tmp_path)
        assert hub.resize_from(hub.read_processor(spec, Task.SEGMENTATION), spec).interpolation is expected
