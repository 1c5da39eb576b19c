from __future__ import annotations

from pathlib import Path

import pytest

WHOLE = """\
name: whole
task: segmentation
model: {name: embedded}
data:
  embedded: {domain: noisy, train: 128}
objective: {metric: iou, mode: max, value: last}
trial:
  epochs: 4
  learning_rate: 1
  lora: {alpha: 8}
  augment.horizontal_flip: 1e-1
  early_stopping: {}
space:
  adapter: {choice: [none, lora, adalora]}
  freezing:
    - {choice: [head_only, full], when: {adapter: none}}
    - {choice: [frozen, unfreeze_at], when: {adapter: [lora, adalora]}}
  unfreeze_epoch: {choice: [1, 2], when: {freezing: unfreeze_at}}
  lora: {rank: {choice: [4, 8]}}
  adalora.target_rank: {int: [2, 12], step: 5}
  weight_decay: {float: [1e-4, 1e-1], log: true}
search:
  random: {}
  trials: 5
  first:
    - {adapter: lora, freezing: frozen, lora: {rank: 4}, weight_decay: 1e-3}
scheduler:
  median: {grace_epochs: 2}
resources: {cpus: 1, gpus: 0.5, concurrent: 2}
retries: 1
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "whole.yaml"
    path.write_text(WHOLE)
    return path
