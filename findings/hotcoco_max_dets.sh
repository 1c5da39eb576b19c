#!/usr/bin/env bash
# hotcoco 1.3.0 compared with pycocotools 2.0.11: other limits on detections per image (`maxDets`).
#
# Guess before running (2026-11-28): hotcoco, made as a drop-in replacement, gives the twelve values that pycocotools
# gives, for other limits too: AP is -1 for [1, 10, 300], since pycocotools' summary asks for the limit 100, and two
# limits raise IndexError.
#
# Seen: the default limits agree to the last digit. With [1, 10, 300] pycocotools gives AP -1, hotcoco the AP at 300.
# With [1, 10] pycocotools raises IndexError; hotcoco warns, gives twelve values, and "AR at 1 detection" (index 6) is
# the recall at 10.
#
# For users: adaptertune evaluates with the default limits only, where both agree.
set -euo pipefail
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"${PYTHON:-python3}" -m venv "$scratch/venv"
"$scratch/venv/bin/python" -m pip install --quiet hotcoco==1.3.0 pycocotools==2.0.11 numpy==2.4.1
"$scratch/venv/bin/python" -W ignore - <<'PY'
import contextlib
import io
import random

import hotcoco
import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

random.seed(0)
truth, found = [], []
for image in range(1, 9):
    for _ in range(4):
        x, y, w, h = (random.randint(5, 50) for _ in range(4))
        box = [x, y, w, h]
        truth.append({"id": len(truth) + 1, "image_id": image, "category_id": 1, "bbox": box, "area": w * h, "iscrowd": 0})
        found.append({"image_id": image, "category_id": 1, "bbox": [x + random.random() * 4, y, w, h], "score": random.random()})
data = {
    "images": [{"id": i, "width": 100, "height": 100, "file_name": f"{i}.png"} for i in range(1, 9)],
    "categories": [{"id": 1, "name": "thing"}],
    "annotations": truth,
}


def values(library, limits):
    with contextlib.redirect_stdout(io.StringIO()):
        if library == "pycocotools":
            coco = COCO()
            coco.dataset = data
            coco.createIndex()
            evaluation = COCOeval(coco, coco.loadRes([dict(d) for d in found]), "bbox")
        else:
            coco = hotcoco.COCO(data)
            evaluation = hotcoco.COCOeval(coco, coco.load_res([dict(d) for d in found]), "bbox")
        evaluation.params.maxDets = limits
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return np.array(evaluation.stats)


default = {name: values(name, [1, 10, 100]) for name in ("pycocotools", "hotcoco")}
print("default limits   ", {name: v.round(4).tolist() for name, v in default.items()})
assert np.array_equal(default["pycocotools"], default["hotcoco"])

many = {name: values(name, [1, 10, 300]) for name in ("pycocotools", "hotcoco")}
print("AP of [1, 10, 300]", {name: float(v[0]) for name, v in many.items()})
assert many["pycocotools"][0] == -1
assert many["hotcoco"][0] == default["hotcoco"][0]

try:
    values("pycocotools", [1, 10])
except IndexError as error:
    print("pycocotools, [1, 10]: IndexError:", error)
else:
    raise SystemExit("pycocotools no longer raises for two limits")
two = values("hotcoco", [1, 10])
print(f"hotcoco, [1, 10]: AR at 1 {two[6]:.4f}; with three limits AR at 1 {default['hotcoco'][6]:.4f}, at 10 {default['hotcoco'][7]:.4f}")
assert two[6] == default["hotcoco"][7] != default["hotcoco"][6]
PY
echo "as stated"
