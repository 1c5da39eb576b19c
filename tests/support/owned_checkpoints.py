"""Checkpoints that say they are of a trial, made of those that say nothing."""

from __future__ import annotations

import io
from pathlib import Path

import torch

from trainables.specs.trial import TrialConfig, config_digest
from trainables.training.checkpoint import MAGIC, write_packed


def as_of(source: Path, to: Path, *, trial: int, config: TrialConfig) -> str:
    """Copy a checkpoint as one of a trial; returns its SHA-256."""
    payload = source.read_bytes()[len(MAGIC) + 32 :]
    held = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    held["identity"] = {"trial": trial, "start": 1, "epoch": 5.0, "config": config_digest(config)}
    held["config"] = config.model_dump_json()
    buffer = io.BytesIO()
    torch.save(held, buffer)
    return write_packed(buffer.getvalue(), to)
