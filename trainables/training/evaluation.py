"""Metrics of a model on a split, in batches that shrink until they fit, which does not change metrics."""

from __future__ import annotations

import torch
from torch import nn

from trainables.data.prepared import PreparedSplit
from trainables.errors import ModelError
from trainables.metrics.results import Keep
from trainables.specs.trial import TrialConfig
from trainables.tasks.base import TaskModel


def metrics_of(
    task: TaskModel,
    model: nn.Module,
    split: PreparedSplit,
    config: TrialConfig,
    *,
    device: torch.device,
    batch_size: int = 32,
    keep: Keep | None = None,
    choose_threshold: bool = False,
) -> dict[str, float]:
    """The task's metrics of `model`, which is left in evaluation mode. Raises ModelError.

    keep: called with the results of each image.  choose_threshold: see `TaskModel.evaluate`.
    """
    model.eval()
    while True:
        try:
            with torch.inference_mode():
                return task.evaluate(
                    model,
                    split,
                    batch_size=batch_size,
                    device=device,
                    precision=config.precision,
                    config=config,
                    keep=keep,
                    choose_threshold=choose_threshold,
                )
        except (torch.OutOfMemoryError, RuntimeError) as error:
            batch_size = smaller_batch(batch_size, error, device)


def smaller_batch(images: int, error: BaseException, device: torch.device) -> int:
    """Half the batch size if `error` means that memory ran out; otherwise raise it."""
    if not ran_out_of_memory(error):
        raise error
    if device.type == "cuda":
        torch.cuda.empty_cache()
    if images == 1:
        raise ModelError(
            "out of memory with a batch of one image; "
            "use a smaller model.image_size, precision bf16, or a device with more memory"
        ) from error
    return -(-images // 2)


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, of a GPU or of the machine."""
    return isinstance(error, torch.OutOfMemoryError) or "not enough memory" in str(error)
