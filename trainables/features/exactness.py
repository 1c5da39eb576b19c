"""Whether a model may continue from kept hidden states: only if its outputs are the same to the bit.

All is measured on a few images of the data, once for each kind of model in a process. Whether a row depends
on the batch that it is in is a property of the matrix routines: on one CPU thread it does not, on a GPU it
depends on the batch's size, and some routines add in another order at another place of a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from trainables.data.loader import Batch
from trainables.features.prefix import NoPrefixError, Prefix, find_embeddings
from trainables.specs.trial import TrialConfig
from trainables.tasks.base import TaskModel, autocast

IMAGES = 3
"""The most images that are compared. Routines work on 4, 8, 16, … rows, so each image gets to every place."""


@dataclass(frozen=True)
class Sample:
    """A trial's task with its first images.

    batch: those with given indices, on the task's device.  uniform: whether all images have one size.
    still: the trial's modules that are in evaluation mode in training.
    """

    task: TaskModel
    config: TrialConfig
    batch: Callable[[list[int]], Batch]
    count: int
    uniform: bool
    device: torch.device
    still: Sequence[nn.Module] = ()

    def states(self, model: nn.Module, prefix: Prefix, batch: Batch) -> Tensor:
        """The hidden states of a batch."""
        with torch.no_grad():
            return prefix.compute(model, lambda: self.forward(model, batch))

    def forward(self, model: nn.Module, batch: Batch) -> None:
        """Run the model as in training: other forwards may compute more of it than a loss reads."""
        with autocast(self.device, self.config.precision):
            self.task.loss(model, batch, self.config)

    def outputs(self, model: nn.Module, batch: Batch) -> list[Tensor]:
        """The tensors that the model gives for a batch."""
        found: list[Tensor] = []
        hook = model.register_forward_hook(lambda _model, _images, output: found.extend(_tensors(output)))
        try:
            with torch.no_grad():
                self.forward(model, batch)
        finally:
            hook.remove()
        return found

    @property
    def few(self) -> list[int]:
        """The images that are compared."""
        return list(range(min(IMAGES, self.count)))

    def tiled(self, size: int, *, turned: int = 0) -> list[int]:
        """`size` indices of the few images, over and over, beginning with number `turned`."""
        return [(place + turned) % len(self.few) for place in range(size)]


def _tensors(output: Any) -> list[Tensor]:
    """All tensors in a model's output."""
    values: Iterable[Any]
    match output:
        case Tensor():
            return [output]
        case Mapping():
            values = output.values()
        case tuple() | list():
            values = output
        case _:
            return []
    return [tensor for value in values for tensor in _tensors(value)]


@dataclass(frozen=True)
class ExactPrefix:
    """A prefix from whose states the model's outputs are the same to the bit.

    tokens, width, dtype: of the states of one image.
    """

    prefix: Prefix
    tokens: int
    width: int
    dtype: torch.dtype


def find_prefix(sample: Sample, model: nn.Module, blocks: tuple[str, ...], block: int) -> ExactPrefix | None:
    """The prefix of `block` blocks, if the model's outputs from its states are those from the images."""
    batch = sample.batch(sample.few)
    with _mode(model, training=False):
        try:
            with torch.no_grad():
                embeddings = find_embeddings(model, blocks, lambda: sample.forward(model, batch))
            prefix = Prefix(embeddings, blocks, block)
            hidden = sample.states(model, prefix, batch)
            if len(hidden) != len(batch.indices) or not torch.isfinite(hidden).all():
                return None  # an image is divided into windows
            plain = sample.outputs(model, batch)
            bare = replace(batch, images=batch.images.to("meta"), hidden=hidden)
            with prefix.resumed(model):
                resumed = sample.outputs(model, bare)
        except torch.OutOfMemoryError:
            raise
        except (NoPrefixError, RuntimeError, NotImplementedError, TypeError, AttributeError, KeyError):
            return None  # the model needs its images after the prefix, or has another form
    same = len(plain) == len(resumed) and all(map(torch.equal, plain, resumed))
    return ExactPrefix(prefix, hidden.shape[1], hidden.shape[2], hidden.dtype) if same and plain else None


def is_random_in_training(sample: Sample, model: nn.Module, prefix: Prefix) -> bool:
    """Whether training mode changes the states or draws random numbers, as dropout does."""
    batch = sample.batch(sample.few)
    with _mode(model, training=False):
        plain = sample.states(model, prefix, batch)
    with _mode(model, training=True):
        for module in sample.still:
            module.training = False
        before = _random_states(sample.device)
        trained = sample.states(model, prefix, batch)
        after = _random_states(sample.device)
    drawn = any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    return drawn or not torch.equal(plain, trained)


def rows_depend_on_size(sample: Sample, model: nn.Module, prefix: Prefix, sizes: Iterable[int]) -> bool:
    """Whether an image's states differ between batches of these sizes, or between places in them."""
    return not _agree(sample, model, prefix, sizes)


def rows_depend_on_place(sample: Sample, model: nn.Module, prefix: Prefix, size: int) -> bool:
    """Whether an image's states differ between places in a batch of `size` images."""
    return not _agree(sample, model, prefix, [size])


def _agree(sample: Sample, model: nn.Module, prefix: Prefix, sizes: Iterable[int]) -> bool:
    """Whether each image has the same states at all places in batches of all sizes.

    Compared are the first block and, from the same states, the last one of the prefix, which may compute
    fewer tokens: those between have the shapes of the first.
    """
    to_last = replace(prefix, block=max(0, prefix.block - 1))
    with _mode(model, training=False):
        compared: list[tuple[Prefix, Tensor | None]] = [(replace(prefix, block=min(1, prefix.block)), None)]
        if prefix.block > 1:
            compared.append((prefix, sample.states(model, to_last, sample.batch(sample.few))))
        for end, inputs in compared:
            known: dict[int, Tensor] = {}
            for size, turned in product(sorted(sizes), (0, 1)):
                indices = sample.tiled(size, turned=turned)
                begun = nullcontext() if inputs is None else to_last.resumed(model, inputs[indices])
                with begun:
                    states = sample.states(model, end, sample.batch(indices))
                rows = zip(indices, states, strict=True)
                if not all(torch.equal(known.setdefault(index, row), row) for index, row in rows):
                    return False
    return True


@contextmanager
def _mode(model: nn.Module, *, training: bool) -> Iterator[None]:
    """Set the mode of all modules for a while, and leave random numbers as they were."""
    before = [(module, module.training) for module in model.modules()]
    devices = sorted({p.device.index or 0 for p in model.parameters() if p.device.type == "cuda"})
    model.train(training)
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        for module, mode in before:
            module.training = mode


def _random_states(device: torch.device) -> list[Tensor]:
    own = [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []
    return [torch.get_rng_state(), *own]
