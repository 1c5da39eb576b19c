"""A trial's saved state: adapter, head, trained backbone weights, optimizer, schedule, position.

It is one file, on disk or in an object store: a magic number, the SHA-256 of the rest, and a torch archive
read with `weights_only`. It is written under a temporary name and renamed, so that a reader never gets a
partial file. That of a sweep says whose it is (`Identity`), and the record has the same SHA-256.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import nn

from trainables.adapters.family import ADAPTER_NAME, Kept
from trainables.adapters.inject import Adapted
from trainables.durable import rename_file, write_file
from trainables.errors import CheckpointError, StaleStartError, StorageError
from trainables.models.freezing import apply_freezing
from trainables.specs.adapters import TRAINS_BACKBONE
from trainables.specs.owner import Owner
from trainables.specs.parent import IN_TRAINING
from trainables.specs.report import Report
from trainables.specs.trial import TrialConfig, config_digest
from trainables.storage_paths import PART, Place, StorePath
from trainables.training.lr_schedule import Plateau
from trainables.training.optimizer import load_optimizer
from trainables.training.state import BestReport, TrialState

MAGIC = b"adaptertune-checkpoint-2\n"
Ours = Callable[[], bool]
"""Whether a worker may still write a trial's checkpoints."""
_STALE = "the trial has started again elsewhere; nothing is saved here"
_WAY = "put the right file back, or train the trial again"
_WHY = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up"}


def always() -> bool:
    """Outside of a sweep nobody else writes a trial's checkpoints."""
    return True


def save_state(
    state: TrialState,
    path: Place,
    report: Report | None = None,
    *,
    start: int | None = None,
    ours: Ours = always,
    durable: bool = False,
) -> str:
    """Write everything that `restore_state` needs to continue `state`; returns its SHA-256.

    report: the last report, which may not be in the record yet.  start: the number of the trial's start; None
    outside of a sweep.  ours, durable: see `write_packed`, which says what is raised.
    """
    held = {
        **_weights(state, start),
        "report": None if report is None else report.model_dump_json(),
        "optimizer": state.optimizer.state_dict(),
        "plateau": vars(state.plateau).copy(),
        "best": vars(state.best).copy(),
        "step": state.step,
        "micro_batch": state.micro_batch,
        "done": state.done,
    }
    return write_packed(_packed(held), path, ours, durable=durable)


def save_weights(state: TrialState, path: Place) -> None:
    """Write only the weights, as for the best report. Raises StorageError."""
    write_packed(pack_weights(state), path)


def pack_weights(state: TrialState, start: int | None = None) -> bytes:
    """The current weights, for a file that may be written later. start: see `save_state`."""
    return _packed(_weights(state, start))


@dataclass(frozen=True)
class Identity:
    """Whose checkpoint it is: a trial's, in one of its starts, at an epoch; config: see `config_digest`."""

    trial: int
    start: int
    epoch: float
    config: str

    @classmethod
    def of(cls, state: TrialState, start: int) -> Self:
        """That of a trial as it is now."""
        epoch = state.pace.epoch_of(state.step)
        return cls(state.number, start, epoch, config_digest(state.config))


def _same(weights: Weights, says: Identity, config: TrialConfig) -> bool:
    """Whether a checkpoint is of a configuration; a default that has changed since makes no difference."""
    return says.config == config_digest(config) or weights.config == config


@dataclass(frozen=True)
class SavedState:
    """What `save_state` wrote."""

    weights: Weights
    held: dict[str, Any]


def read_state(path: Place) -> SavedState:
    """A saved state, on the CPU. Raises CheckpointError for a damaged file, StorageError."""
    held, sha256 = _read(path)
    return SavedState(_parsed(held, path, sha256), held)


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
    identity: Identity | None = None
    """None outside of a sweep, and in files of before."""
    sha256: str = ""

    @property
    def kept(self) -> Kept:
        """What the checkpoint says of its adapter, for a model that is built for it."""
        end = f".lora_A.{ADAPTER_NAME}.weight"
        ranks = {n.removesuffix(end): len(t) for n, t in self.tensors.items() if n.endswith(end)}
        return Kept(ranks, frozenset(self.tensors))


def read_weights(path: Place, owner: Owner | None = None) -> Weights:
    """The weights in either kind of file, on the CPU. owner: whose they must be.

    Raises CheckpointError, StorageError.
    """
    held, sha256 = _read(path)
    found = _parsed(held, path, sha256)
    if owner is not None:
        check_owner(found, owner)
    return found


def check_owner(weights: Weights, owner: Owner) -> None:
    """Raise CheckpointError if a checkpoint is of another trial or configuration, or not the recorded file.

    A file of before does not say whose it is.
    """
    path, says = weights.path, weights.identity
    if says is not None and says.trial != owner.trial:
        raise CheckpointError(
            f"{path}: is a checkpoint of trial {says.trial}, of epoch {says.epoch:g}, not of trial"
            f" {owner.trial}; {_WAY}"
        )
    if says is not None and owner.config is not None and not _same(weights, says, owner.config):
        raise CheckpointError(
            f"{path}: is a checkpoint of another configuration than that of trial {owner.trial}; {_WAY}"
        )
    if owner.sha256 is not None and owner.sha256 != weights.sha256:
        raise CheckpointError(
            f"{path}: is not the file that the record names (SHA-256 {owner.sha256[:12]}…, not"
            f" {weights.sha256[:12]}…); {_WAY}"
        )


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


def _weights(state: TrialState, start: int | None = None) -> dict[str, Any]:
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
    says = None if start is None else vars(Identity.of(state, start)).copy()
    return {
        "identity": says,
        "config": state.config.model_dump_json(),
        "classes": list(state.classes),
        "total_steps": state.pace.total_steps,
        "weights": {name: tensor.detach() for name, tensor in (own | buffers).items()},
        "adapted": state.adapted.state(),
    }


def _parsed(held: dict[str, Any], path: Place, sha256: str) -> Weights:
    says = held.get("identity")
    return Weights(
        identity=None if says is None else Identity(**says),
        sha256=sha256,
        path=path,
        config=TrialConfig.model_validate_json(held["config"]),
        classes=tuple(held["classes"]),
        total_steps=held["total_steps"],
        tensors=held["weights"],
        adapted=held["adapted"],
    )


def write_packed(payload: bytes, path: Place, ours: Ours = always, *, durable: bool = False) -> str:
    """Write a packed checkpoint under a unique name, then rename it; returns its SHA-256.

    ours: whether the trial's newest start is still this worker's; asked last of all.  durable: wait until
    file and name are on the disk.  Raises StorageError, and StaleStartError if it is not.
    """
    digest = hashlib.sha256(payload)
    head = MAGIC + digest.digest()

    def require_ours() -> None:
        if not ours():
            raise StaleStartError(_STALE)

    if isinstance(path, StorePath):
        try:
            path.write_bytes(head, payload, ready=None if ours is always else require_ours)
        except StorageError as error:
            raise StorageError(f"{error}; the previous checkpoint is kept") from error
        return digest.hexdigest()
    part = path.with_name(f".{path.name}.{os.getpid()}{PART}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in path.parent.glob(f".{path.name}.*{PART}"):  # of a worker that was killed while writing
            require_ours()  # or it is of the worker that writes now
            left.unlink(missing_ok=True)
        write_file(part, head, payload, durable=durable)
        require_ours()
        rename_file(part, path, durable=durable)
    except StaleStartError:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise
    except OSError as error:
        with suppress(OSError):  # a read-only disk refuses this too
            part.unlink(missing_ok=True)
        why = _WHY.get(error.errno or 0, error.strerror or str(error))
        raise StorageError(f"{path}: cannot write the checkpoint: {why}; the previous one is kept") from error
    return digest.hexdigest()


def stored_digest(path: Place) -> str | None:
    """The SHA-256 that a checkpoint says of itself; None if there is none that can be read."""
    end = len(MAGIC) + 32
    try:
        if isinstance(path, StorePath):
            head = path.read_bytes()[:end]
        else:
            with path.open("rb") as file:
                head = file.read(end)
    except (OSError, StorageError):
        return None
    return head[len(MAGIC) :].hex() if head.startswith(MAGIC) and len(head) == end else None


def _packed(held: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    torch.save(held, buffer)
    return buffer.getvalue()


def _read(path: Place) -> tuple[dict[str, Any], str]:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot read the checkpoint: {error.strerror or error}") from error
    digest = raw[len(MAGIC) : len(MAGIC) + 32]
    payload = memoryview(raw)[len(MAGIC) + 32 :]
    if not raw.startswith(MAGIC) or hashlib.sha256(payload).digest() != digest:
        raise CheckpointError(f"{path}: the checkpoint is damaged (its checksum does not match)")
    held: dict[str, Any] = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    return held, digest.hex()
