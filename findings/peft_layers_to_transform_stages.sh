#!/usr/bin/env bash
# peft 0.21.2 with transformers 5.24.0: `layers_to_transform` on Swin, a transformer in stages.
#
# Guess before running (2026-11-28): `layers_to_transform=[0]` adapts the first transformer block, or the first of each stage.
#
# Seen: it adapts every block of the first stage. Without `layers_pattern` PEFT tries the names layers, h, block, blocks,
# layer in turn and takes the index behind the first that fits, which in `encoder.layers.0.blocks.1` is the stage. An
# index that is a block but no stage finds nothing. With `layers_pattern="blocks"` it adapts the block of that index in each stage.
#
# For users: adaptertune does not use `layers_to_transform`; its `blocks` names layers by inspecting the model.
set -euo pipefail
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"${PYTHON:-python3}" -m venv "$scratch/venv"
"$scratch/venv/bin/python" -m pip install --quiet torch==2.13.0 transformers==5.24.0 peft==0.21.2
"$scratch/venv/bin/python" -W ignore - <<'PY'
from peft import LoraConfig, get_peft_model
from transformers import SwinConfig, SwinForImageClassification


def adapted(**given):
    config = SwinConfig(image_size=32, patch_size=2, embed_dim=16, depths=[3, 3], num_heads=[2, 2], window_size=4)
    model = get_peft_model(SwinForImageClassification(config), LoraConfig(target_modules=["q_proj"], r=2, **given))
    names = [name for name, module in model.named_modules() if hasattr(module, "lora_A")]
    return [".".join(name.split(".")[4:8]) for name in names]


first = adapted(layers_to_transform=[0])
print("layers_to_transform=[0]:", first)
assert first == ["layers.0.blocks.0", "layers.0.blocks.1", "layers.0.blocks.2"]
try:
    adapted(layers_to_transform=[2])
except ValueError as error:
    print("layers_to_transform=[2]: ValueError:", str(error)[:60], "…")
else:
    raise SystemExit("an index that is no stage is accepted")
blocks = adapted(layers_to_transform=[0], layers_pattern="blocks")
print("with layers_pattern='blocks':", blocks)
assert blocks == ["layers.0.blocks.0", "layers.1.blocks.0"]
PY
echo "as stated"
