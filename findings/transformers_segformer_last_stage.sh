#!/usr/bin/env bash
# transformers 5.24.0: `reshape_last_stage` of SegformerConfig.
#
# Guess before running (2026-11-29): reshape_last_stage=False leaves the last stage's output as tokens, and the head for semantic
# segmentation, which has a branch for it, computes the same logits from them.
#
# Seen: the head takes the square root of the number of channels for the sides of the map, where the number of tokens is meant. With
# 256 channels it works for images of 512 by 512 pixels, whose last map has 16 by 16 tokens, and raises an error about shapes
# for other sizes.
#
# For users: adaptertune refuses such a checkpoint and says what to change in its config.json, before a sweep starts
# (trainables/tasks/segmenters/segformer.py).
set -euo pipefail
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"${PYTHON:-python3}" -m venv "$scratch/venv"
"$scratch/venv/bin/python" -m pip install --quiet torch==2.13.0 transformers==5.24.0
"$scratch/venv/bin/python" -W ignore - <<'PY'
import torch
from transformers import SegformerConfig, SegformerForSemanticSegmentation


def outcome(side, reshape):
    torch.manual_seed(0)
    config = SegformerConfig(
        hidden_sizes=[8, 8, 8, 256], depths=[1, 1, 1, 1], num_attention_heads=[1, 1, 1, 1], num_labels=3,
        decoder_hidden_size=8, reshape_last_stage=reshape,
    )
    model = SegformerForSemanticSegmentation(config).eval()
    try:
        with torch.no_grad():
            return tuple(model(torch.zeros(1, 3, side, side)).logits.shape)
    except RuntimeError as error:
        return f"RuntimeError: {error}"


found = {(side, reshape): outcome(side, reshape) for side in (256, 512) for reshape in (True, False)}
for (side, reshape), what in found.items():
    print(f"{side} pixels, reshape_last_stage={reshape}: {what}")
assert found[256, True] == (1, 3, 64, 64)
assert str(found[256, False]).startswith("RuntimeError")
assert found[512, True] == found[512, False] == (1, 3, 128, 128)
PY
echo "as stated"
