"""How long a trained model takes for one image."""

from __future__ import annotations

import torch
from PIL import Image
from torch.utils.benchmark import Timer

from trainables.inference.predict import batch_of
from trainables.inference.trained_model import TrainedModel
from trainables.tasks.base import autocast

MIN_RUN_S = 0.3
"""Seconds that are measured, if one pass does not take longer."""


def latency_ms(trained: TrainedModel, image: Image.Image) -> float:
    """Milliseconds of a forward pass over one RGB image, on the model's device, in its precision.

    The image has been resized and is on the device. The adapter is in place as it was trained; one
    that can be merged costs nothing once it is. The fastest of all passes counts: others had to share
    the machine. Source: torch.utils.benchmark, which warms up and waits for a GPU.
    """
    batch = batch_of(trained, image)
    with torch.inference_mode():
        timer = Timer(
            # A context for each pass, as in a prediction: it keeps bf16 copies of weights that trained.
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
