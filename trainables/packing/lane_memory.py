"""The memory of one more trial in a step, and the memory that is there."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from trainables.training.state import TrialState

SHARE_OF_CPU = 0.5
"""A worker takes this share of the memory that its threads are entitled to: the system needs some, too."""
SHARE_OF_GPU = 0.8
COPIES = 4
"""A trained tensor has a gradient and two averages of the optimizer."""
_CGROUPS = Path("/sys/fs/cgroup")
_MEMINFO = Path("/proc/meminfo")


@dataclass
class Saved:
    """The bytes of the tensors that autograd has kept for the backward pass; each storage counts once."""

    known: set[int]
    bytes: int = 0

    def add(self, tensor: Tensor) -> Tensor:
        """Count a tensor that is kept."""
        storage = tensor.untyped_storage()
        if (place := storage.data_ptr()) not in self.known:
            self.known.add(place)
            self.bytes += int(storage.nbytes())
        return tensor


@contextmanager
def counting_saved(weights: Iterable[Tensor]) -> Iterator[Saved]:
    """Count what forward passes keep. weights: tensors that are there anyway.

    A count is the same in every run, other than the memory of a process or the peak of a device.
    """
    saved = Saved({weight.untyped_storage().data_ptr() for weight in weights})
    with torch.autograd.graph.saved_tensors_hooks(saved.add, lambda tensor: tensor):
        yield saved


def bytes_of_training(state: TrialState) -> int:
    """The bytes of what a trial trains, with gradients and the optimizer's averages."""
    trained = (p for group in state.optimizer.param_groups for p in group["params"])
    return COPIES * sum(int(p.numel() * p.element_size()) for p in trained)


def bytes_for_packing(device: torch.device, *, threads: int) -> int | None:
    """The bytes that a worker may use for the trials of a pack; None if the system does not say it.

    On a CPU a worker has the part of the memory that its threads are of all CPUs.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(SHARE_OF_GPU * (free + held))
    there = free_memory()
    part = min(1.0, threads / (os.cpu_count() or 1))
    return None if there is None else int(SHARE_OF_CPU * part * there)


def free_memory(*, meminfo: Path = _MEMINFO, cgroups: Path = _CGROUPS) -> int | None:
    """The bytes that this process can still use: of the machine, and within the limit of its container."""
    found = []
    with suppress(OSError, ValueError, StopIteration):
        lines = meminfo.read_text(encoding="utf-8").splitlines()
        line = next(line for line in lines if line.startswith("MemAvailable:"))
        found.append(1024 * int(line.split()[1]))
    for folder, limit, usage, cache in (
        (cgroups, "memory.max", "memory.current", "inactive_file"),
        (cgroups / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        with suppress(OSError, ValueError):  # no such file, or "max"
            most, used = (int((folder / name).read_text()) for name in (limit, usage))
            found.append(most - used + _statistic(folder / "memory.stat", cache))
    return max(0, min(found)) if found else None


def _statistic(path: Path, name: str) -> int:
    """Memory that only keeps files, and is given up when it is needed."""
    for line in path.read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return 0
