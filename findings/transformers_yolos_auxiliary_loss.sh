#!/usr/bin/env bash
# transformers 5.24.0: `auxiliary_loss` of YolosConfig.
#
# Guess before running (2026-11-29): YolosConfig documents auxiliary_loss as the loss of the decoder's levels, as in DETR, so a model
# with it computes a loss from labels.
#
# Seen: with labels the model raises a TypeError, because it reads hidden states that its backbone was not asked to return. Without
# labels, and with auxiliary_loss=False, it works.
#
# For users: adaptertune refuses such a checkpoint before a sweep starts, with what to change in its config.json
# (trainables/tasks/detection.py).
set -euo pipefail
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"${PYTHON:-python3}" -m venv "$scratch/venv"
"$scratch/venv/bin/python" -m pip install --quiet torch==2.13.0 transformers==5.24.0 scipy==1.17.1 pillow==12.1.0
"$scratch/venv/bin/python" -W ignore - <<'PY'
import torch
from transformers import YolosConfig, YolosForObjectDetection

labels = [{"class_labels": torch.tensor([1]), "boxes": torch.tensor([[0.5, 0.5, 0.2, 0.2]])}]


def outcome(auxiliary_loss, given):
    torch.manual_seed(0)
    config = YolosConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, image_size=[32, 32],
        num_detection_tokens=5, auxiliary_loss=auxiliary_loss,
    )
    try:
        found = YolosForObjectDetection(config)(pixel_values=torch.randn(1, 3, 32, 32), labels=given)
    except TypeError as error:
        return f"TypeError: {error}"
    return "a loss" if found.loss is not None else "no loss"


with_it, without_labels, plain = outcome(True, labels), outcome(True, None), outcome(False, labels)
print("auxiliary_loss with labels:", with_it)
print("auxiliary_loss without labels:", without_labels, " off, with labels:", plain)
assert with_it.startswith("TypeError")
assert (without_labels, plain) == ("no loss", "a loss")
PY
echo "as stated"
