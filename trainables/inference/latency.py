"""Measures how long trained models take for one image, in turns, so that a busy machine slows all alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

import torch
from PIL import Image
from torch import nn

from trainables.data.loader import Batch
from trainables.inference.predict import batch_of
from trainables.inference.trained_model import TrainedModel
from trainables.specs.job import Latency
from trainables.specs.trial import Precision
from trainables.tasks.base import TaskModel, autocast

ROUNDS = 7
"""How many turns each model has."""
PASSES = 3
"""The fewest forward passes in a turn."""
TURN_MS = 50.0
"""The least duration of a turn in milliseconds."""

Pass = Callable[[], float]
"""Runs a model once over its image, and returns the milliseconds that this took."""


def in_turns(passes: Sequence[Pass]) -> list[Latency]:
    """The latency of each model, measured turn by turn: all models have a turn before one has its next.

    A turn counts with its fastest pass, because the others had to share the machine. What slows the machine
    for longer than a turn slows all models, and shows in the range over a model's turns. Every other round
    goes backwards, so that no model is always measured after the same one.

    The range is that of the middle turns, without the fastest and the slowest one. Ranges of two models that
    take equally long lie apart in 3 % of cases (100 of the 3432 orders of 7 and 7 turns).
    """
    for once in passes:
        once()  # the first pass allocates memory and loads kernels
    turns: list[list[float]] = [[] for _ in passes]
    for round_number in range(ROUNDS):
        order = range(len(passes)) if round_number % 2 == 0 else reversed(range(len(passes)))
        for index in order:
            turns[index].append(_turn(passes[index]))
    return [_summary(sorted(times)) for times in turns]


def _summary(times: Sequence[float]) -> Latency:
    return Latency(median_ms=statistics.median(times), low_ms=times[1], high_ms=times[-2])


def _turn(once: Pass) -> float:
    times: list[float] = []
    while len(times) < PASSES or sum(times) < TURN_MS:
        times.append(once())
    return min(times)


def forward_pass(trained: TrainedModel, image: Image.Image) -> Pass:
    """A forward pass over one RGB image, already resized and on the model's device, in its precision.

    The adapter is not merged; after merging, it would cost nothing.
    """
    batch = batch_of(trained, image)

    def once() -> float:
        with torch.inference_mode():
            return timed_pass(trained.task, trained.model, batch, trained.device, trained.config.precision)

    return once


def timed_pass(
    task: TaskModel, model: nn.Module, batch: Batch, device: torch.device, precision: Precision
) -> float:
    """The milliseconds of one forward pass, without gradients if the caller has turned them off."""
    # A context for each pass, as in a prediction: it caches bf16 copies of trained weights.
    began = time.perf_counter()
    with autocast(device, precision):
        task.outputs(model, batch)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return (time.perf_counter() - began) * 1000


def architecture(trained: TrainedModel) -> str:
    """A text that is equal for models that do the same computation, whatever their weights.

    It holds the modules, the shapes of all tensors, the settings of the adapter, and the precision.
    """
    section = trained.config.section
    tensors = (
        (name, tuple(tensor.shape), str(tensor.dtype))
        for name, tensor in (*trained.model.named_parameters(), *trained.model.named_buffers())
    )
    return repr(
        (
            str(trained.model),
            tuple(tensors),
            trained.config.adapter.value,
            None if section is None else section.model_dump_json(),
            str(trained.config.precision),
        )
    )
