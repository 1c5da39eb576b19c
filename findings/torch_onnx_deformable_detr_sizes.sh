#!/usr/bin/env bash
# torch 2.13.0, transformers 5.24.0: Deformable DETR exported to ONNX with free height and width takes one size.
#
# Guess before running (2026-11-29): `torch.onnx.export(dynamo=True)` with dynamic height and width gives a file that takes any size, as it
# does for DETR, or it raises, as it does where code fixes a dynamic size.
#
# Seen: it raises nothing, and the file's input has free height and width. It computes the same as torch at the size that was traced. Turned
# by 90 degrees, an image has as many cells, and the file gives other boxes than torch without an error; for other sizes onnxruntime fails.
# What the encoder computes from the sizes of its maps is constant.
#
# For users: `export --onnx` gives Deformable DETR one size and says so in the card; files of free size are run at two sizes before they
# are left (trainables/export/onnx/write.py, compare.py).
set -euo pipefail
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"${PYTHON:-python3}" -m venv "$scratch/venv"
"$scratch/venv/bin/python" -m pip install --quiet torch==2.13.0 transformers==5.24.0 onnx==1.23.2 onnxscript==0.7.2 onnxruntime==1.32.0
cd "$scratch"
"$scratch/venv/bin/python" -W ignore - <<'PY'
import logging

import onnxruntime
import torch
from transformers import AutoModelForObjectDetection, DeformableDetrConfig, DetrConfig, ResNetConfig

logging.disable(logging.WARNING)
free = torch.export.Dim.DYNAMIC


class Boxes(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, pixel_values):
        found = self.model(pixel_values)
        return found.logits, found.pred_boxes


def exported(kind, stages, **more):
    torch.manual_seed(0)
    small = ResNetConfig(embedding_size=8, hidden_sizes=[8] * 4, depths=[1] * 4, layer_type="basic", out_features=stages)
    config = kind(
        backbone_config=small, use_timm_backbone=False, use_pretrained_backbone=False, backbone=None, d_model=32, encoder_layers=1,
        decoder_layers=2, encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, num_queries=6, **more,
    )
    model = Boxes(AutoModelForObjectDetection.from_config(config).eval()).requires_grad_(False)
    axes = ({0: free, 2: free, 3: free},)
    program = torch.onnx.export(
        model, (torch.randn(2, 3, 64, 96),), dynamo=True, input_names=["images"], dynamic_shapes=axes, optimize=False, verbose=False
    )
    program.save("model.onnx")
    quiet = onnxruntime.SessionOptions()
    quiet.log_severity_level = 4
    return model, onnxruntime.InferenceSession("model.onnx", quiet, providers=["CPUExecutionProvider"])


def runs(model, session, *size):
    images = torch.randn(3, 3, *size)
    try:
        found = session.run(None, {"images": images.numpy()})
    except Exception as error:
        return str(error).splitlines()[0][-60:]
    with torch.no_grad():
        return max(float((torch.from_numpy(a) - b).abs().max()) for a, b in zip(found, model(images))) < 1e-4


for kind, stages, more in ((DetrConfig, ["stage4"], {}), (DeformableDetrConfig, ["stage3", "stage4"], {"num_feature_levels": 2})):
    model, session = exported(kind, stages, **more)
    shape = session.get_inputs()[0].shape
    seen = {size: runs(model, session, *size) for size in ((64, 96), (96, 64), (128, 160))}
    print(kind.__name__, shape, seen)
    assert all(isinstance(side, str) for side in (shape[0], shape[2], shape[3]))
    assert seen[64, 96] is True
    if kind is DetrConfig:
        assert seen[96, 64] is True
        assert seen[128, 160] is True
    else:
        assert seen[96, 64] is False  # other boxes
        assert isinstance(seen[128, 160], str)  # an error
PY
echo "as stated"
