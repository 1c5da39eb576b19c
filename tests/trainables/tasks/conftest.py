from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from transformers import ViTConfig, YolosConfig, YolosForObjectDetection

from trainables.data.prepared import PreparedSplit
from trainables.data.stored_columns import COLUMNS
from trainables.specs.trial import TrialConfig
from trainables.specs.workload import ModelSpec, Task, Workload
from trainables.tasks.base import TaskModel
from trainables.tasks.registry import load_task

Array = np.ndarray[Any, np.dtype[Any]]
CPU = torch.device("cpu")
PLAIN = TrialConfig.model_validate_json('{"adapter": "none"}')


@pytest.fixture(scope="session", autouse=True)
def _offline() -> Iterator[None]:
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


def load(task: Task, name: str, classes: tuple[str, ...], **model: Any) -> TaskModel:
    workload = Workload.model_validate_json(f'{{"task": "{task}", "objective": {{"metric": "loss"}}}}')
    return load_task(workload.model_copy(update={"model": ModelSpec(name=name, **model)}), classes, CPU)


def tiny_yolos(labels: dict[int, str], **changes: Any) -> YolosForObjectDetection:
    """A random YOLOS with different queries."""
    settings: dict[str, Any] = {
        "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
        "image_size": [32, 32], "patch_size": 8, "num_detection_tokens": 5,
        "use_mid_position_embeddings": False, "id2label": labels,
        "label2id": {name: number for number, name in labels.items()},
    }  # fmt: skip
    torch.manual_seed(0)
    model = YolosForObjectDetection(YolosConfig(**(settings | changes)))
    embeddings = model.vit.embeddings
    for tensor in (embeddings.detection_tokens, embeddings.cls_token, embeddings.position_embeddings):
        torch.nn.init.normal_(tensor, std=1.0)
    for head in (model.class_labels_classifier, model.bbox_predictor):
        for layer in head.layers:
            torch.nn.init.normal_(layer.weight, std=0.5)
    return model.eval()


def vit_config(**changes: Any) -> ViTConfig:
    settings: dict[str, Any] = {
        "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
        "image_size": 32, "patch_size": 8,
    }  # fmt: skip
    return ViTConfig(**(settings | changes))


@pytest.fixture
def split_of(tmp_path: Path) -> Callable[..., PreparedSplit]:
    """A prepared split from rows; images (h, w, 3) uint8."""

    def write(task: Task, images: list[Array], rows: list[dict[str, Any]]) -> PreparedSplit:
        table = [
            {
                "name": f"{i}.png",
                "image": np.ascontiguousarray(image.transpose(2, 0, 1)).tobytes(),
                "mask": None,
                "height": image.shape[0],
                "width": image.shape[1],
                "original_height": image.shape[0],
                "original_width": image.shape[1],
                "boxes": [],
                "labels": [],
                "areas": [],
                "crowds": [],
            }
            | row
            for i, (image, row) in enumerate(zip(images, rows, strict=True))
        ]
        path = tmp_path / f"{task}.arrow"
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, COLUMNS) as writer:
            writer.write_table(pa.Table.from_pylist(table, schema=COLUMNS))
        return PreparedSplit(path, task)

    return write
