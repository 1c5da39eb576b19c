#!/usr/bin/env bash
# transformers 5.24.0, torchvision 0.28: how RF-DETR's image processor makes images smaller.
#
# Guess before running (2026-11-29): it resizes as the processors of DETR, RT-DETR and ViT do: bilinearly with antialiasing, which its
# settings (`resample: 2`) say too.
#
# Seen: it resizes without antialiasing; nothing in preprocessor_config.json says so. Of a photo made 8 times smaller 4 pixels in 64
# count: fine lines vanish or fill the image, where RT-DETR's processor with the same settings keeps the mean.
#
# For users: adaptertune reads images for RF-DETR in the same way (`bilinear_points` in trainables/data/resize.py).
set -euo pipefail
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"${PYTHON:-python3}" -m venv "$scratch/venv"
"$scratch/venv/bin/python" -m pip install --quiet torch==2.13.0 torchvision==0.28.0 transformers==5.24.0 numpy==2.4.1 scipy==1.17.1 pillow==12.1.0
"$scratch/venv/bin/python" -W ignore - <<'PY'
import numpy as np
from PIL import Image
from transformers import RfDetrImageProcessor, RTDetrImageProcessor

lines = np.zeros((256, 256, 3), np.uint8)
lines[:, ::8] = 255  # one white column in eight
image = Image.fromarray(lines)
settings = {"size": {"height": 32, "width": 32}, "do_normalize": False, "resample": 2}
found = {
    kind.__name__: kind(**settings)(image, return_tensors="pt")["pixel_values"].mean().item()
    for kind in (RfDetrImageProcessor, RTDetrImageProcessor)
}
print("mean of the pixels, 0.125 in the photo:", {name: round(value, 3) for name, value in found.items()})
assert abs(found["RTDetrImageProcessor"] - 0.125) < 0.01
assert abs(found["RfDetrImageProcessor"] - 0.125) > 0.1
PY
echo "as stated"
