"""A trial's saved state: adapter, head, trained backbone weights, optimizer, schedule, position.

It is one file, on disk or in an object store: a magic number, the SHA-256 of the rest, and a torch archive
read with `weights_only`. It is written under a temporary name and renamed, so that a reader never gets a
partial file.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from trainables.adapters.family import ADAPTER_NAME, Kept
from trainables.adapters.inject import Adapted
from trainables.errors import CheckpointError, StorageError
from trainables.models.freezing import apply_freezing
from trainables.specs.adapters import TRAINS_BACKBONE
from trainables.specs.parent import IN_TRAINING
from trainables.specs.report import Report
from trainables.specs.trial import TrialConfig
from trainables.storage_paths import Place, StorePath
from trainables.training.lr_schedule import Plateau
from trainables.training.optimizer import load_optimizer
from trainables.training.state import BestReport, TrialState

MAGIC = b"adaptertune-checkpoint-2\n"
_WHY = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up"}


def save_state(state: TrialState, path: Place, report: Report | None = None) -> None:
    """Write everything that `restore_state` needs to continue `state`. Raises StorageError.

    report: the last report, which may not be in the record yet.
    """
    held = {
        **_weights(state),
        "report": None if report is None else report.model_dump_json(),
        "optimizer": state.optimizer.state_dict(),
        "plateau": vars(state.plateau).copy(),
        "best": vars(state.best).copy(),
        "step": state.step,
        "micro_batch": state.micro_batch,
        "done": state.done,
    }
    write_packed(_packed(held), path)


def save_weights(state: TrialState, path: Place) -> None:
    """Write only the weights, as for the best report. Raises StorageError."""
    write_packed(pack_weights(state), path)


def pack_weights(state: TrialState) -> bytes:
    """The current weights, for a file that may be written later."""
    return _packed(_weights(state))


@dataclass(frozen=True)
class SavedState:
    """What `save_state` wrote."""

    weights: Weights
    held: dict[str, Any]


def read_state(path: Place) -> SavedState:
    """A saved state, on the CPU. Raises CheckpointError for a damaged file, StorageError."""
    held = _read(path)
    return SavedState(_parsed(held, path), held)


def restore_state(state: TrialState, saved: SavedState, *, longer: bool = False) -> Report | None:
    """Restore a newly started `state` to a saved one; returns the report saved with it.

    longer: it was saved by another trial, of the same configuration but for its epochs and the settings that
    may change in training. The state goes on although that one was done; its best report is still to come.

    A state whose initial weights came from training images must have been started with the checkpoint's
    `weights.kept`. Raises CheckpointError if it is of another configuration.
    """
    held, weights = saved.held, saved.weights
    may_differ = {"epochs", *IN_TRAINING} if longer else set()
    here = {name: getattr(state.config, name) for name in may_differ}
    if weights.config.model_copy(update=here) != state.config:
        raise CheckpointError(f"{weights.path}: belongs to another configuration than this trial's")
    load_weights(state.model, state.adapted, weights)
    load_optimizer(state.optimizer, held["optimizer"])
    state.plateau = Plateau(**held["plateau"])
    state.step = held["step"]
    state.micro_batch = held["micro_batch"]
    if state.step:  # torch multiplies in another way by a weight that is set to train, also without gradients
        state.frozen_for = (state.step - 1) // state.pace.steps_per_epoch
        apply_freezing(state.parts, state.config, epoch=float(state.frozen_for))
    if longer:
        return None
    state.best, state.done = BestReport(**held["best"]), held["done"]
    return None if held["report"] is None else Report.model_validate_json(held["report"])


@dataclass(frozen=True)
class Weights:
    """The part of a checkpoint that differs from the model's backbone, by names in the model."""

    path: Place
    config: TrialConfig
    classes: tuple[str, ...]
    """The classes of the data that it was trained on."""
    total_steps: int
    tensors: dict[str, torch.Tensor]
    adapted: dict[str, torch.Tensor]

    @property
    def kept(self) -> Kept:
        """What the checkpoint says of its adapter, for a model that is built for it."""
        end = f".lora_A.{ADAPTER_NAME}.weight"
        ranks = {n.removesuffix(end): len(t) for n, t in self.tensors.items() if n.endswith(end)}
        return Kept(ranks, frozenset(self.tensors))


def read_weights(path: Place) -> Weights:
    """The weights in either kind of file, on the CPU. Raises CheckpointError, StorageError."""
    return _parsed(_read(path), path)


def load_weights(model: nn.Module, adapted: Adapted, weights: Weights) -> None:
    """Put `weights` into a model built for their configuration. Raises CheckpointError."""
    path = weights.path
    present = dict(model.named_parameters()) | dict(model.named_buffers())
    for name, tensor in weights.tensors.items():
        if name not in present:
            raise CheckpointError(
                f"{path}: has {name}, which the model lacks; it was trained from another backbone"
            )
        if present[name].shape != tensor.shape:
            raise CheckpointError(
                f"{path}: has {name} of shape {list(tensor.shape)}, but the model's shape is"
                f" {list(present[name].shape)}; it was trained from another backbone"
            )
    adapted.load_state(weights.adapted)
    with torch.no_grad():
        for name, tensor in weights.tensors.items():
            present[name].copy_(tensor)


def _weights(state: TrialState) -> dict[str, Any]:
    """The weights that differ from the backbone: adapter, head, and backbone weights that train."""
    moves = state.config.mode in TRAINS_BACKBONE
    own = {**state.parts.adapter, **state.parts.head}
    if moves:
        own |= state.parts.backbone
    buffers = {
        name: tensor
        for name, tensor in state.model.named_buffers()
        if moves or name not in state.parts.backbone_buffers
    }
    return {
        "config": state.config.model_dump_json(),
        "classes": list(state.classes),
        "total_steps": state.pace.total_steps,
        "weights": {name: tensor.detach() for name, tensor in (own | buffers).items()},
        "adapted": state.adapted.state(),
    }


def _parsed(held: dict[str, Any], path: Place) -> Weights:
    return Weights(
        path=path,
        config=TrialConfig.model_validate_json(held["config"]),
        classes=tuple(held["classes"]),
        total_steps=held["total_steps"],
        tensors=held["weights"],
        adapted=held["adapted"],
    )


def write_packed(payload: bytes, path: Place) -> None:
    """Write a packed checkpoint under a unique name, then rename it. Raises StorageError."""
    head = MAGIC + hashlib.sha256(payload).digest()
    if isinstance(path, StorePath):
        try:
            path.write_bytes(head, payload)
        except StorageError as error:
            raise StorageError(f"{error}; the previous checkpoint is kept") from error
        return
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in path.parent.glob(f".{path.name}.*.part"):  # of a worker that was killed while writing
            left.unlink(missing_ok=True)
        with part.open("wb") as file:
            file.write(head)
            file.write(payload)
        os.replace(part, path)
    except OSError as error:
        with suppress(OSError):  # a read-only disk refuses this too
            part.unlink(missing_ok=True)
        why = _WHY.get(error.errno or 0, error.strerror or str(error))
        raise StorageError(f"{path}: cannot write the checkpoint: {why}; the previous one is kept") from error


def _packed(held: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    torch.save(held, buffer)
    return buffer.getvalue()


def _read(path: Place) -> dict[str, Any]:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot read the checkpoint: {error.strerror or error}") from error
    digest = raw[len(MAGIC) : len(MAGIC) + 32]
    payload = memoryview(raw)[len(MAGIC) + 32 :]
    if not raw.startswith(MAGIC) or hashlib.sha256(payload).digest() != digest:
        raise CheckpointError(f"{path}: the checkpoint is damaged (its checksum does not match)")
    held: dict[str, Any] = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    return held
