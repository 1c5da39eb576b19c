#!/usr/bin/env bash
# transformers 5.24.0: the attention windows of RF-DETR's backbone, for images that are not square.
#
# Guess before running (2026-11-29): the backbone divides the grid of patches into num_windows × num_windows rectangles, as windowed
# attention does, for any height and width that are multiples of patch_size · num_windows.
#
# Seen: for square images it does. For others the numbers of rows and columns of a window are exchanged, so that a window is made of
# pieces of rows from several places. There is no error, and the feature maps are put together in the right order again.
#
# For users: adaptertune takes square images only for RF-DETR, and says what to set (trainables/tasks/detector_sizes.py).
set -euo pipefail
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"${PYTHON:-python3}" -m venv "$scratch/venv"
"$scratch/venv/bin/python" -m pip install --quiet torch==2.13.0 transformers==5.24.0 scipy==1.17.1 pillow==12.1.0
"$scratch/venv/bin/python" -W ignore - <<'PY'
import torch
from transformers import RfDetrDinov2Backbone, RfDetrDinov2Config

WINDOWS, PATCH = 2, 8
config = RfDetrDinov2Config(
    hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=64, patch_size=PATCH, num_windows=WINDOWS,
    out_indices=[1, 2],
)
embeddings = RfDetrDinov2Backbone(config).embeddings


def first_window_is_a_rectangle(height, width):
    rows, columns = height // PATCH, width // PATCH
    numbers = torch.arange(rows * columns, dtype=torch.float).view(1, -1, 1)
    tokens = torch.cat([torch.full((1, 1, 1), -1.0), numbers], dim=1)
    window = embeddings.window_partition(tokens, height, width)[0, 1:, 0]
    found = {(int(n) // columns, int(n) % columns) for n in window}
    return found == {(r, c) for r in range(rows // WINDOWS) for c in range(columns // WINDOWS)}


seen = {size: first_window_is_a_rectangle(*size) for size in ((64, 64), (96, 64), (64, 96))}
print("the first window is the upper left rectangle, by (height, width):", seen)
assert seen == {(64, 64): True, (96, 64): False, (64, 96): False}
PY
echo "as stated"
