#!/usr/bin/env bash
# peft 0.21.2 with torch 2.13.0: LoRA on the feed-forward layers of `nn.TransformerEncoderLayer`.
#
# Guess before running (2026-11-28): linear1 and linear2 are ordinary nn.Linear modules, so an adapter on them counts in
# training and in evaluation alike.
#
# Seen: it counts in training only. In evaluation mode, with batch_first=True, the layer calls a fused function that reads
# linear1.weight and linear2.weight itself and never runs the modules, so the output is that of the base model to the bit:
# a trained adapter is evaluated as if it were not there. Gradients being enabled does not prevent it, since torch asks
# whether one of the weights that it reads needs a gradient, and those are the frozen ones. After merging it counts.
#
# For users: the gradient audit of adaptertune runs the model in evaluation mode too, and refuses an adapter on a layer that
# is not run there (trainables/training/gradient_audit.py).
set -euo pipefail
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"${PYTHON:-python3}" -m venv "$scratch/venv"
"$scratch/venv/bin/python" -m pip install --quiet torch==2.13.0 transformers==5.24.0 peft==0.21.2
"$scratch/venv/bin/python" -W ignore - <<'PY'
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

torch.manual_seed(0)
layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True)
lora = LoraConfig(target_modules=["linear1", "linear2"], r=4, init_lora_weights=False)
model = get_peft_model(nn.Sequential(layer), lora)
tokens = torch.randn(2, 5, 32)


def effect():
    with_adapter = model(tokens)
    with model.disable_adapter():
        return float((with_adapter - model(tokens)).detach().abs().max())


trained = effect()
model.eval()
evaluated = effect()
print(f"effect of the adapter: {trained:.3f} in training mode, {evaluated} in evaluation mode")
assert trained > 0.1
assert evaluated == 0
with model.disable_adapter():
    base = model(tokens)
merged = float((model.merge_and_unload().eval()(tokens) - base).detach().abs().max())
print(f"after merging, in evaluation mode: {merged:.3f}")
assert merged > 0.1
PY
echo "as stated"
