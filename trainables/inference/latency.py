"""Measures how long a trained model takes for one image."""

from __future__ import annotations

import torch
from PIL import Image
from torch.utils.benchmark import Timer

from trainables.inference.predict import batch_of
from trainables.inference.trained_model import TrainedModel
from trainables.tasks.base import autocast

MIN_RUN_S = 0.3
"""The least duration of a measurement in seconds."""


def latency_ms(trained: TrainedModel, image: Image.Image) -> float:
    """Milliseconds of a forward pass over one RGB image, on the model's device, in its precision.

    The image is already resized and on the device. The adapter is not merged; after merging, it would
    cost nothing. The fastest of all passes counts, because other passes had to share
    the machine. Source: torch.utils.benchmark, which warms up and waits for a GPU.
    """
    batch = batch_of(trained, image)
    with torch.inference_mode():
        timer = Timer(
            # A context for each pass, as in a prediction: it caches bf16 copies of trained weights.
            "with autocast(device, precision):\n    task.outputs(model, batch)",
            globals={
                "autocast": autocast,
                "device": trained.device,
                "precision": trained.config.precision,
                "task": trained.task,
                "model": trained.model,
                "batch": batch,
            },
            num_threads=torch.get_num_threads(),
        )
        return float(min(timer.blocked_autorange(min_run_time=MIN_RUN_S).times) * 1000)
