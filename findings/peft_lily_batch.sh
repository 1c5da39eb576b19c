#!/usr/bin/env bash
# peft 0.21.2: what LILY computes for an image depends on the other images of its batch.
#
# Guess before running (2026-11-29): in evaluation mode an adapter's output for an image is a function of that image, as with LoRA,
# so predictions do not depend on the batch size.
#
# Seen: the weights with which LILY mixes its shared matrices are averaged over all tokens of the batch. The same image alone and beside
# two others has different outputs; with LoRA it has the same.
#
# For users: `adapter: peft` with LILY says so in docs/explanation/adapters.md; trials with it are never trained in one batch with
# others (trainables/packing/group.py), and a YOLOS keeps all tokens of its last layer for it (trainables/tasks/yolos.py).
set -euo pipefail
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"${PYTHON:-python3}" -m venv "$scratch/venv"
"$scratch/venv/bin/python" -m pip install --quiet torch==2.13.0 transformers==5.24.0 peft==0.21.2
"$scratch/venv/bin/python" -W ignore - <<'PY'
import torch
from peft import LilyConfig, LoraConfig, get_peft_model
from transformers import ViTConfig, ViTModel


def difference(config):
    torch.manual_seed(0)
    small = ViTConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, image_size=16, patch_size=8)
    model = get_peft_model(ViTModel(small, add_pooling_layer=False), config).eval()
    images = torch.randn(3, 3, 16, 16)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.3)
        alone = model(pixel_values=images[:1]).last_hidden_state[0]
        beside = model(pixel_values=images).last_hidden_state[0]
    return float((alone - beside).abs().max())


targets = ["q_proj", "v_proj"]
lily, lora = difference(LilyConfig(r=4, target_modules=targets)), difference(LoraConfig(r=4, target_modules=targets))
print(f"largest difference between an image alone and in a batch: LILY {lily:.2g}, LoRA {lora:.2g}")
assert lily > 0.01
assert lora < 1e-5
PY
echo "as stated"
