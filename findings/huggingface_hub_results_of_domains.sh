#!/usr/bin/env bash
# huggingface_hub 2.4.0: a model card's results of two data sets become results of one.
#
# Guess before running (2026-11-29): results with another `dataset_name` are of another data set in a card's header.
#
# Seen: `ModelCardData.to_yaml` groups results by task, dataset type, config, split and revision. The name is not among them: the
# second result is written under the first one's name, so a reader gets it for a data set that it was not measured on.
#
# For users: cards of exports give each domain as `dataset_config` too (trainables/export/card.py).
set -euo pipefail
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"${PYTHON:-python3}" -m venv "$scratch/venv"
"$scratch/venv/bin/python" -m pip install --quiet huggingface_hub==2.4.0
"$scratch/venv/bin/python" - <<'PY'
from huggingface_hub import EvalResult, ModelCard, ModelCardData


def read_back(**config):
    results = [
        EvalResult(
            task_type="image-segmentation", dataset_type="cells", dataset_name=name, metric_type="dice", metric_value=value,
            **{key: name for key in config},
        )
        for name, value in (("clean", 0.75), ("shifted", 0.5))
    ]
    data = ModelCardData(model_name="m", eval_results=results)
    found = ModelCard(f"---\n{data.to_yaml()}\n---\n").data.eval_results
    return [(result.dataset_name, result.metric_value) for result in found]


by_name, by_config = read_back(), read_back(dataset_config=True)
print("by name only:   ", by_name)
print("with a config:  ", by_config)
assert by_name == [("clean", 0.75), ("clean", 0.5)]
assert by_config == [("clean", 0.75), ("shifted", 0.5)]
PY
echo "as stated"
