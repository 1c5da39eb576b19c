#!/usr/bin/env bash
# transformers 5.24.0: position embeddings of a ViT that was pretrained on images that are not square.
#
# Guess before running (2026-11-29): ViTConfig takes image_size=(16, 64), so the model knows its grid of 4 by 16 patches, and
# interpolate_pos_encoding=True resizes that grid; at the pretrained size it changes nothing.
#
# Seen: the grid is taken as square, side = sqrt(patches). 64 positions of a 4 by 16 grid are resized as if they were 8 by 8, without
# an error, also at the pretrained size: the 16 columns of the first row become a mean of its two halves. Where the number
# of patches is no square, it raises an error about shapes.
#
# For users: adaptertune takes such a ViT or DeiT at its own size, without interpolation, and refuses other sizes; of models that
# always interpolate (DINOv2, BEiT) it refuses checkpoints that are not square (trainables/tasks/segmenters/vits.py).
set -euo pipefail
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"${PYTHON:-python3}" -m venv "$scratch/venv"
"$scratch/venv/bin/python" -m pip install --quiet torch==2.13.0 transformers==5.24.0
"$scratch/venv/bin/python" -W ignore - <<'PY'
import torch
from transformers import ViTConfig, ViTModel


def resized(height, width):
    config = ViTConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, patch_size=4,
        image_size=(height, width),
    )
    embeddings = ViTModel(config, add_pooling_layer=False).embeddings
    rows, columns = height // 4, width // 4
    with torch.no_grad():
        # Every position holds its column.
        embeddings.position_embeddings[:, 1:] = torch.arange(float(columns)).repeat(rows).view(1, -1, 1)
        found = embeddings.interpolate_pos_encoding(torch.zeros(1, 1 + rows * columns, 8), height, width)
    return found[0, 1:, 0].view(rows, columns)


square, flat = resized(32, 32), resized(16, 64)
print("columns of a square model at its own size:", [round(v, 1) for v in square[0].tolist()])
print("columns of a 16 by 64 model at its own size:", [round(v, 1) for v in flat[0].tolist()])
assert torch.equal(square[0], torch.arange(8.0))
assert float((flat[0] - torch.arange(16.0)).abs().max()) > 3
try:
    resized(16, 48)
except RuntimeError as error:
    print("a 16 by 48 model:", str(error)[:60])
else:
    raise AssertionError("48 positions were resized")
PY
echo "as stated"
