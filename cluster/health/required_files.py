"""Whether a node has the files and folders that an experiment names, and the weights from the hub."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

MOST_ENTRIES = 20_000
"""The entries of a folder that are counted."""
_WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)


@dataclass(frozen=True)
class Contents:
    """What is at a path. amount: the bytes of a file, or the entries of a folder, at most `MOST_ENTRIES`."""

    folder: bool
    amount: int

    @property
    def words(self) -> str:
        """The amount with its unit."""
        if not self.folder:
            return f"{self.amount:,} bytes"
        more = "at least " if self.amount == MOST_ENTRIES else ""
        return f"{more}{self.amount:,} entries"


@dataclass(frozen=True)
class HubModel:
    """A model on the Hugging Face Hub."""

    name: str
    revision: str | None = None


@dataclass(frozen=True)
class Weights:
    """cached: whether the node has them.  reachable: else, whether it can download them.  error: why not."""

    cached: bool
    reachable: bool = False
    error: str = ""


@dataclass(frozen=True)
class StoreAnswer:
    """Whether an object can be written to an object store and read back. error: why not, or empty.

    write_ms: how long the writing took, in milliseconds.
    """

    error: str = ""
    write_ms: float | None = None


def look_at_paths(paths: Mapping[str, str]) -> dict[str, Contents | str]:
    """What is at each path, or why it cannot be read. Both by the key of the experiment file."""
    return {key: _contents(path) for key, path in paths.items()}


def _contents(path: str) -> Contents | str:
    try:
        if not os.path.isdir(path):
            with open(path, "rb") as file:
                return Contents(False, os.fstat(file.fileno()).st_size)
        with os.scandir(path) as entries:
            return Contents(True, sum(1 for _ in islice(entries, MOST_ENTRIES)))
    except OSError as error:
        return error.strerror or str(error)


def identity_of(folder: Path) -> tuple[int, int] | None:
    """What tells a folder from others, equal on all machines that mount it; None if there is none."""
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def look_for_weights(model: HubModel) -> Weights:
    """Whether the weights are in this node's cache, or the hub would give them."""
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        cached = [
            isinstance(try_to_load_from_cache(model.name, name, revision=model.revision), str)
            for name in _WEIGHTS
        ]
    except HFValidationError:
        return Weights(False, error="is no name of a model on the hub")
    if any(cached):
        return Weights(True)
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "on", "yes"):
        return Weights(False, error="HF_HUB_OFFLINE is set")
    try:
        HfApi().model_info(model.name, revision=model.revision, timeout=10.0)
    except Exception as error:  # of several libraries for the network
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        return Weights(False, error=said)
    return Weights(False, reachable=True)
