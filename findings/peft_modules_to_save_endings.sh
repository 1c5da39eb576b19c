#!/usr/bin/env bash
# peft 0.21.2: names in `modules_to_save`.
#
# Guess before running (2026-11-29): `modules_to_save=["class_embed"]` means the module of that name, or one under it: names are
# compared part by part, as `target_modules` are.
#
# Seen: every module whose whole name ends with these letters is taken, also amid a word. In RF-DETR and LW-DETR `class_embed` also takes
# the list `enc_out_class_embed`, and PEFT raises a TypeError, as it cannot save a list. A module of another type would be trained and
# saved without a word: with `modules_to_save=["classifier"]` a layer `subclassifier` trains too.
#
# For users: where the name of a head is the ending of another module's, adaptertune exports an adapter with an own base that has the
# trained head (trainables/export/portable.py).
set -euo pipefail
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"${PYTHON:-python3}" -m venv "$scratch/venv"
"$scratch/venv/bin/python" -m pip install --quiet torch==2.13.0 transformers==5.24.0 peft==0.21.2
"$scratch/venv/bin/python" -W ignore - <<'PY'
from peft import LoraConfig, PeftModel
from torch import nn


class Model(nn.Module):
    def __init__(self, other):
        super().__init__()
        self.query = nn.Linear(8, 8)
        self.classifier = nn.Linear(8, 2)
        self.subclassifier = other

    def forward(self, x):
        return self.classifier(self.query(x))


def outcome(other):
    config = LoraConfig(r=2, target_modules=["query"], modules_to_save=["classifier"])
    try:
        model = PeftModel(Model(other), config)
    except TypeError as error:
        return f"TypeError: {error}"
    return sorted({n.split(".")[2] for n, p in model.named_parameters() if p.requires_grad and "lora" not in n})


layer, layers = outcome(nn.Linear(8, 2)), outcome(nn.ModuleList([nn.Linear(8, 2)]))
print("trains besides LoRA:", layer)
print("beside a list:", layers)
assert layer == ["classifier", "subclassifier"]
assert layers.startswith("TypeError")
PY
echo "as stated"
