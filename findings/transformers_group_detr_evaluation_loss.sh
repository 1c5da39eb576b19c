#!/usr/bin/env bash
# transformers 5.24.0: the loss of LW-DETR and RF-DETR in evaluation mode.
#
# Guess before running (2026-11-29): the models have `group_detr` groups of queries in training and one in evaluation, so the loss of a
# model in evaluation mode matches each object to one query.
#
# Seen: the loss is built anew in each call and is in training mode itself, so it divides the one group of queries into `group_detr`
# parts and matches each object to a query of every part. The same weights in a model with group_detr=1, which computes the same boxes,
# give another loss.
#
# For users: adaptertune computes the loss of validation images with one group (trainables/tasks/own_loss.py).
set -euo pipefail
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"${PYTHON:-python3}" -m venv "$scratch/venv"
"$scratch/venv/bin/python" -m pip install --quiet torch==2.13.0 transformers==5.24.0 scipy==1.17.1 pillow==12.1.0
"$scratch/venv/bin/python" -W ignore - <<'PY'
import torch
from transformers import LwDetrConfig, LwDetrForObjectDetection


def model(groups):
    torch.manual_seed(0)
    backbone = {
        "model_type": "lw_detr_vit", "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 64,
        "pretrain_image_size": 64, "patch_size": 8, "num_windows": 4, "window_block_indices": [0], "out_indices": [1, 2],
    }
    config = LwDetrConfig(
        backbone_config=backbone, projector_scale_factors=[1.0], d_model=32, decoder_ffn_dim=32, decoder_layers=2,
        decoder_self_attention_heads=2, decoder_cross_attention_heads=2, num_queries=12, group_detr=groups, num_labels=3,
    )
    return LwDetrForObjectDetection(config).eval()


several, one = model(3), model(1)
held = several.state_dict()
one.load_state_dict({name: held[name][: len(t)] if t.ndim else held[name] for name, t in one.state_dict().items()})
labels = [{"class_labels": torch.tensor([1]), "boxes": torch.tensor([[0.5, 0.5, 0.3, 0.3]])}]
images = torch.rand(1, 3, 64, 64)
with torch.no_grad():
    first, second = several(images, labels=labels), one(images, labels=labels)
same = torch.allclose(first.pred_boxes, second.pred_boxes) and torch.allclose(first.logits, second.logits)
print("boxes and logits are the same:", same)
print(f"loss with group_detr=3: {first.loss:.3f}   with group_detr=1: {second.loss:.3f}")
assert same
assert abs(float(first.loss - second.loss)) > 0.1
PY
echo "as stated"
