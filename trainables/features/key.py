"""What hidden states depend on: images, weights, how they are computed. A file of features is found by it."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import asdict
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from pydantic import JsonValue
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from trainables.data.corruptions import CorruptedSplit
from trainables.data.prepared import PreparedSplit
from trainables.specs.trial import Augment
from trainables.tasks.base import Scale

FORMAT = 1
"""The version of what a key means; another one is another key."""


class TensorDigests:
    """Digests of tensors, each computed once as long as the tensor lives and is not changed."""

    def __init__(self) -> None:
        self._known: Any = WeakTensorKeyDictionary()

    def of(self, tensors: Mapping[str, Tensor]) -> str:
        """One digest of named tensors: names, types, shapes and values."""
        whole = hashlib.blake2b(digest_size=16)
        for name in sorted(tensors):
            tensor = tensors[name]
            whole.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} {self._one(tensor)}\n".encode())
        return whole.hexdigest()

    def _one(self, tensor: Tensor) -> str:
        known: tuple[int, str] | None = self._known.get(tensor)
        if known is not None and known[0] == tensor._version:
            return known[1]
        values = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest = hashlib.blake2b(values.numpy().data, digest_size=16).hexdigest()
        self._known[tensor] = (tensor._version, digest)
        return digest


def images_key(split: PreparedSplit) -> JsonValue:
    """The images of a split's file. Their folder is named after their content; the file's time tells when
    another version of the program, which may read files differently, has made it anew.
    """
    found = split.path.stat()
    corruption = split.corruption.model_dump(mode="json") if isinstance(split, CorruptedSplit) else None
    return {
        "fingerprint": split.path.parent.name,
        "file": split.path.name,
        "bytes": found.st_size,
        "modified_ns": found.st_mtime_ns,
        "corruption": corruption,
    }


def version_key(augment: Augment, seed: int, number: int) -> JsonValue:
    """One changed version of the images."""
    changes = augment.model_dump(mode="json", exclude={"views"}, exclude_defaults=True)
    return {"changes": changes, "seed": seed, "version": number}


def model_key(model: nn.Module, digest: str, *, block: int, scale: Scale) -> JsonValue:
    """The part of a model that computes the states. digest: of its tensors."""
    configs: list[Any] = [getattr(module, "config", None) for module in model.modules()]
    settings = [
        [config.to_dict(), getattr(config, "_attn_implementation", None)]
        for config in configs
        if hasattr(config, "to_dict")
    ]
    text = json.dumps([type(model).__qualname__, settings], sort_keys=True, default=str)
    return {
        "settings": hashlib.sha256(text.encode()).hexdigest()[:32],
        "tensors": digest,
        "block": block,
        "scale": {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(scale).items()},
    }


def machine_key(device: torch.device) -> JsonValue:
    """What decides in which order numbers are added: libraries, processor, threads."""
    shared: dict[str, JsonValue] = {
        "torch": torch.__version__,
        "transformers": version("transformers"),
        "matmul": torch.get_float32_matmul_precision(),
    }
    if device.type == "cuda":
        return shared | {"device": torch.cuda.get_device_name(device), "cuda": torch.version.cuda}
    return shared | {
        "device": f"{device.type} {_processor()} {torch.backends.cpu.get_cpu_capability()}",
        "threads": torch.get_num_threads(),
    }


@lru_cache(maxsize=1)
def _processor() -> str:
    """The processor's model."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else f"{platform.machine()} {platform.processor()}"
