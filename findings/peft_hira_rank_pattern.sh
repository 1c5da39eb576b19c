#!/usr/bin/env bash
# peft 0.21.2: `rank_pattern` of HiRA.
#
# Guess before running (2026-11-28): HiraConfig takes r and rank_pattern as LoraConfig does, so a layer that the pattern names gets
# the pattern's rank.
#
# Seen: the pattern is accepted and every layer gets rank r, without a warning. The same pattern in a LoraConfig is used.
#
# For users: adaptertune refuses `peft.arguments.rank_pattern` for HIRA before a sweep starts (trainables/adapters/peft_arguments.py).
set -euo pipefail
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"${PYTHON:-python3}" -m venv "$scratch/venv"
"$scratch/venv/bin/python" -m pip install --quiet torch==2.13.0 transformers==5.24.0 peft==0.21.2
"$scratch/venv/bin/python" -W ignore - <<'PY'
from peft import HiraConfig, LoraConfig, get_peft_model
from transformers import ViTConfig, ViTModel


def ranks(config):
    small = ViTConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, image_size=32, patch_size=8)
    model = get_peft_model(ViTModel(small, add_pooling_layer=False), config)
    found = {}
    for name, weight in model.named_parameters():
        if "hira_A" in name or "lora_A" in name:
            found[name.split(".layers.")[1].split(".")[0]] = weight.shape[0]
    return found


given = {"target_modules": ["q_proj"], "r": 4, "rank_pattern": {"layers.0.attention.q_proj": 8}}
hira, lora = ranks(HiraConfig(**given)), ranks(LoraConfig(**given))
print("rank by layer, HiRA:", hira, " LoRA:", lora)
assert hira == {"0": 4, "1": 4}
assert lora == {"0": 8, "1": 4}
PY
echo "as stated"
