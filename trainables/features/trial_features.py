"""The features of one trial: batches that begin with hidden states where those can be kept.

A trial's numbers do not depend on whether its states were kept or are computed now. Where an image's states
are the same in each batch, those of the whole model are kept. Where they depend on the size of the batch,
they are always computed in batches of one size, also if nothing is kept, and where they depend on their
place in it, they are never kept (see `trainables.features.exactness`).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from weakref import WeakValueDictionary

import numpy as np
import torch
from pydantic import JsonValue
from torch import Tensor, nn

from trainables.data.loader import Batch, Batches, batch_of
from trainables.data.prepared import Array, PreparedSplit
from trainables.features.exactness import (
    ExactPrefix,
    Sample,
    find_prefix,
    is_random_in_training,
    rows_depend_on_place,
    rows_depend_on_size,
)
from trainables.features.feature_file import FeatureFile, FileShape
from trainables.features.feature_folder import FeatureFolder, NoRoomError
from trainables.features.first_block import blocks_before_training, frozen_tensors
from trainables.features.key import FORMAT, TensorDigests, images_key, machine_key, model_key, version_key
from trainables.features.prefix import NoPrefixError
from trainables.models.build import Built
from trainables.models.freezing import backbone_trains
from trainables.specs.trial import TrialConfig
from trainables.tasks.base import TaskModel

logger = logging.getLogger(__name__)


class Features:
    """The kept hidden states of one worker: its files, and what is known of its task's model."""

    def __init__(self, task: TaskModel, prepared: Path, device: torch.device, *, limit_gb: float) -> None:
        """prepared: the folder of prepared data, in whose cache files are kept.  limit_gb: see `cache_gb`."""
        self.task, self.device = task, device
        self.digests = TensorDigests()
        self._folder = FeatureFolder.beside(prepared, limit_gb) if limit_gb > 0 else None
        self._files: WeakValueDictionary[bytes, FeatureFile] = WeakValueDictionary()
        self._known: dict[tuple[object, ...], object] = {}
        self.told: list[str] = []
        """What was logged, each message once: why states are not kept."""

    def of(self, built: Built, config: TrialConfig, training: PreparedSplit) -> TrialFeatures:
        """Those of a trial. training: its training images."""
        return TrialFeatures(self, built, config, training)

    def file(self, shape: FileShape, rows: int) -> FeatureFile | None:
        """The file with room for `rows` rows; None if there is no room, which is logged once."""
        if (held := self._files.get(shape.described)) is not None:
            return held
        if self._folder is None:
            return None
        try:
            opened = self._folder.open(shape, rows)
        except NoRoomError as error:
            self.tell(f"features are not kept: {error}")
            return None
        self._files[shape.described] = opened
        return opened

    def tell(self, message: str) -> None:
        """Log a message unless it was logged before."""
        if message not in self.told:
            self.told.append(message)
            logger.warning(message)

    def exact_prefix(self, sample: Sample, model: nn.Module, block: int) -> ExactPrefix | None:
        """See `find_prefix`; measured once."""
        key = ("prefix", block, sample.config.precision)
        if key not in self._known:
            blocks = self.task.layout_in(model).blocks
            self._known[key] = find_prefix(sample, model, blocks, block)
        found = self._known[key]
        assert found is None or isinstance(found, ExactPrefix)
        return found

    def is_random(self, sample: Sample, model: nn.Module, exact: ExactPrefix) -> bool:
        """See `is_random_in_training`; measured once."""
        key = ("random", exact.prefix.block, sample.config.precision)
        if key not in self._known:
            self._known[key] = is_random_in_training(sample, model, exact.prefix)
        return bool(self._known[key])

    def batch_shape(
        self, sample: Sample, model: nn.Module, exact: ExactPrefix, sizes: Iterable[int]
    ) -> BatchShape | None:
        """How the states of batches of `sizes` images are computed; None if they cannot be kept."""
        wanted = frozenset(sizes)
        key = ("shape", exact.prefix.block, sample.config.precision, wanted)
        if key not in self._known:
            self._known[key] = _batch_shape(sample, model, exact, wanted)
        found = self._known[key]
        assert found is None or isinstance(found, BatchShape)
        return found


@dataclass(frozen=True)
class BatchShape:
    """The batches in which states are computed.

    sizes: of the batches that may be computed.  padded: the number of images that each is filled up to,
    because an image's states depend on it; None if they do not.
    """

    sizes: frozenset[int]
    padded: int | None


def _batch_shape(
    sample: Sample, model: nn.Module, exact: ExactPrefix, sizes: frozenset[int]
) -> BatchShape | None:
    if not rows_depend_on_size(sample, model, exact.prefix, sizes):
        return BatchShape(sizes, None)
    most = max(sizes)
    return None if rows_depend_on_place(sample, model, exact.prefix, most) else BatchShape(sizes, most)


class TrialFeatures:
    """What a trial's model computes before its first block that trains, in the stages of its training."""

    def __init__(
        self, features: Features, built: Built, config: TrialConfig, training: PreparedSplit
    ) -> None:
        self._features, self._built, self._config, self._training = features, built, config, training
        self._stages: dict[bool, Stage] = {}

    def at(self, epoch: float) -> Stage:
        """The stage of an epoch: all stay the same until the backbone begins to train."""
        trains = backbone_trains(self._config, epoch)
        if trains not in self._stages:
            self._stages[trains] = self._stage(epoch)
        return self._stages[trains]

    def _stage(self, epoch: float) -> Stage:
        features, built, config = self._features, self._built, self._config
        layout = features.task.layout_in(built.model)
        block = blocks_before_training(built.model, built.parts, config, layout, epoch=epoch)
        sample = Sample(
            task=features.task,
            config=config,
            batch=lambda indices: batch_of(self._training, indices).to(features.device),
            count=len(self._training),
            uniform=self._training.uniform,
            device=features.device,
            still=built.parts.frozen_modules(config, epoch),
        )
        return Stage(features, built, config, sample, block)


@dataclass
class Stage:
    """A part of a trial's training in which the same blocks are frozen.

    block: the number of blocks before the first that trains.
    """

    features: Features
    built: Built
    config: TrialConfig
    sample: Sample
    block: int
    _served: dict[tuple[object, ...], PreparedSplit] = field(default_factory=dict)

    @cached_property
    def exact(self) -> ExactPrefix | None:
        """The frozen part, also if it is the embeddings alone; None if the model cannot be divided."""
        try:
            return self.features.exact_prefix(self.sample, self.built.model, self.block)
        except torch.OutOfMemoryError:
            return None

    @cached_property
    def kept(self) -> ExactPrefix | None:
        """The frozen blocks, if what they compute is worth keeping and may be kept."""
        return None if self.block == 0 else self.exact

    def states(self, batch: Batch) -> Tensor:
        """The hidden states (images, tokens, width) of a batch on the device, computed now without gradients.

        The model continues from them within `exact.prefix.resumed(model, states)`; several models with the
        same frozen blocks can continue from those of one batch.
        """
        if self.exact is None:
            raise NoPrefixError(f"{type(self.built.model).__name__} cannot be divided at a block")
        return self.sample.states(self.built.model, self.exact.prefix, batch)

    def with_states(self, batch: Batch) -> Batch:
        """A training batch with hidden states where the model may continue from some, computed if not kept.

        So that a model which computes several trials at once begins with the same numbers in both cases.
        """
        if batch.hidden is not None or self.kept is None or not self.sample.uniform:
            return batch
        if self.features.is_random(self.sample, self.built.model, self.kept):
            return batch
        there = batch.to(self.features.device)
        return replace(there, images=there.images.to("meta"), hidden=self.states(there))

    def resumed(self) -> AbstractContextManager[None]:
        """Within the context, the model continues from the hidden states of batches that have some."""
        return nullcontext() if self.kept is None else self.kept.prefix.resumed(self.built.model)

    def training(self, split: PreparedSplit) -> PreparedSplit:
        """The trial's training images, with hidden states unless images are changed anew in each epoch."""
        augment = self.config.augment
        if augment.changes_images and augment.views is None:
            return split
        return self._with_states(split, self.config.batch_size, training=True)

    def evaluation(self, split: PreparedSplit, batch_size: int) -> PreparedSplit:
        """Images for evaluations in batches of `batch_size`, with hidden states."""
        return self._with_states(split, batch_size, training=False)

    def _with_states(self, split: PreparedSplit, batch_size: int, *, training: bool) -> PreparedSplit:
        key = (split.path, type(split), len(split), batch_size, training)
        if key not in self._served:
            try:
                source = self._source(split, batch_size, training=training)
            except torch.OutOfMemoryError:
                source = None
            self._served[key] = split if source is None else split.served_by(source)
        return self._served[key]

    def _source(self, split: PreparedSplit, batch_size: int, *, training: bool) -> StateSource | None:
        # Padded images would depend on those beside them.
        if self.kept is None or not split.uniform:
            return None
        model = self.built.model
        if training and self.features.is_random(self.sample, model, self.kept):
            return None
        count = len(split)
        sizes = {size for size in (min(batch_size, count), count % batch_size) if size}
        shape = self.features.batch_shape(self.sample, model, self.kept, sizes)
        return None if shape is None else StateSource(self, split, shape, self._key(split, shape))

    def _key(self, split: PreparedSplit, shape: BatchShape) -> dict[str, JsonValue]:
        assert self.kept is not None
        model, block = self.built.model, self.block
        task = self.features.task
        tensors = frozen_tensors(model, self.built.parts, task.layout_in(model), block)
        return {
            "format": FORMAT,
            "images": images_key(split),
            "model": model_key(model, self.features.digests.of(tensors), block=block, scale=task.scale),
            "states": [self.kept.tokens, self.kept.width, str(self.kept.dtype)],
            "precision": str(self.config.precision),
            "padded": shape.padded,
            "machine": machine_key(self.features.device),
        }


class StateSource:
    """Makes the batches of one split: from kept states where they are, and otherwise keeps them."""

    def __init__(
        self, stage: Stage, split: PreparedSplit, shape: BatchShape, key: dict[str, JsonValue]
    ) -> None:
        assert stage.kept is not None
        self._stage, self._shape, self._key, self._exact = stage, shape, key, stage.kept
        self._count, self._rows_in_file = len(split), split.rows_in_file
        self._rows = np.arange(len(split)) if split.rows is None else np.asarray(split.rows)
        self.name = json.dumps(
            [key, str(split.path), sha256(self._rows.tobytes()).hexdigest()], sort_keys=True
        )
        """See `BatchSource`."""
        self._files: dict[int | None, FeatureFile | None] = {}

    def __call__(self, batches: Batches, i: int) -> Batch:
        """Batch `i`."""
        indices = batches.indices(i)
        rows = self._rows[indices].tolist()
        file = self._file(batches)
        if file is not None and (found := file.read(rows)) is not None:
            return replace(batches.without_images(i), hidden=self._tensor(found))
        if len(indices) not in self._shape.sizes or (file is None and self._shape.padded is None):
            return batches.with_images(i)
        batch = batches.with_images(i)
        try:
            hidden = self._computed(batch)
        except RuntimeError as error:  # out of memory, which the step itself can handle
            self._stage.features.tell(f"features are not kept: {error}")
            return batch
        if file is not None:
            file.write(rows, _bytes(hidden))
            if file.full is not None:
                self._stage.features.tell(f"features are not kept: {file.path}: {file.full.strerror}")
        return replace(batch, images=batch.images.to("meta"), hidden=hidden)

    def _computed(self, batch: Batch) -> Tensor:
        """The states of a batch, on the CPU."""
        count, padded = len(batch.indices), self._shape.padded
        there = batch.to(self._stage.features.device)
        if padded is not None and count < padded:
            there = there.take([*range(count), *[0] * (padded - count)])
        return self._stage.states(there)[:count].cpu()

    def _file(self, batches: Batches) -> FeatureFile | None:
        """The file of the version of the images that `batches` holds, opened once."""
        number = batches.augment.version(batches.epoch) if batches.augments else None
        if number not in self._files:
            key = self._key
            if number is not None:
                assert batches.seed is not None
                key = key | {"version": version_key(batches.augment, batches.seed, number)}
            width = self._exact.tokens * self._exact.width * self._exact.dtype.itemsize
            shape = FileShape(key, self._rows_in_file, width)
            self._files[number] = self._stage.features.file(shape, self._count)
        return self._files[number]

    def _tensor(self, found: Array) -> Tensor:
        states = torch.from_numpy(found).view(self._exact.dtype)
        return states.view(len(found), self._exact.tokens, self._exact.width)


def _bytes(hidden: Tensor) -> Array:
    found: Array = hidden.contiguous().view(len(hidden), -1).view(torch.uint8).numpy()
    return found
