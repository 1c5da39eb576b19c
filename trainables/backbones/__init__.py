"""The embedded backbones: folders in hub format, each with a card of how it was made and what it does."""

from __future__ import annotations

from pathlib import Path

from trainables.specs.workload import Task

EMBEDDED = {
    Task.DETECTION: Path(__file__).parent / "yolos_digits",
    Task.SEGMENTATION: Path(__file__).parent / "vit_digits",
}
