"""The peak memory of a trial."""

from __future__ import annotations

import torch

from trainables.training.peak_memory import peak_memory_mb, reset_peak_memory

CPU = torch.device("cpu")


def test_the_peak_grows_with_what_is_held_at_once_and_stays() -> None:
    reset_peak_memory(CPU)
    before = peak_memory_mb(CPU)
    held = torch.ones(64, 2**20)  # 256 MB, written
    with_it = peak_memory_mb(CPU)
    del held
    assert with_it > before + 100
    assert peak_memory_mb(CPU) > before + 100
