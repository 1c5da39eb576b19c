#!/usr/bin/env bash
# torch 2.13.0: a linear layer whose input was expanded, with a weight that requires a gradient and with one that does not.
#
# Guess before running (2026-11-30): under torch.inference_mode() nothing depends on requires_grad, so a frozen and an
# unfrozen copy of the same layer run the same operations and give the same bits.
#
# Seen: they run different ones. If the weight requires a gradient, the batch is folded into one matrix product (mm); if it
# does not, and the input is not contiguous (queries of a detector, expanded over the batch), it is a batched product (bmm).
# torch looks at the flag alone, not at whether gradients are computed. Where the two kernels round differently, as they do on
# a processor with AVX512, freezing a weight changes what an evaluation gives in the last bits.
#
# For users: a trial that is restored from a checkpoint has its weights frozen as they were when it was saved, before anything
# is computed (trainables/training/checkpoint.py), so that it gives the same bits as one that was not interrupted.
set -euo pipefail
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"${PYTHON:-python3}" -m venv "$scratch/venv"
"$scratch/venv/bin/python" -m pip install --quiet torch==2.13.0 numpy
"$scratch/venv/bin/python" -W ignore - <<'PY'
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

torch.manual_seed(0)
layer = nn.Linear(64, 2)
queries = torch.randn(8, 64).unsqueeze(0).expand(4, -1, -1)


def products(trains, given):
    layer.requires_grad_(trains)
    with torch.inference_mode(), profile(activities=[ProfilerActivity.CPU]) as seen:
        layer(given)
    names = {event.key.removeprefix("aten::") for event in seen.key_averages()}
    return sorted(names & {"mm", "addmm", "bmm", "baddbmm"})


found = {
    "expanded, trains": products(True, queries),
    "expanded, frozen": products(False, queries),
    "contiguous, trains": products(True, queries.contiguous()),
    "contiguous, frozen": products(False, queries.contiguous()),
}
for case, ran in found.items():
    print(f"{case}: {', '.join(ran)}")
assert found["contiguous, trains"] == found["contiguous, frozen"] == ["addmm"]
assert found["expanded, trains"] == ["mm"]
assert found["expanded, frozen"] == ["bmm"]
print("as described")
PY
