"""The section of example predictions. No ray, no torch."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from analysis.report.document import Absent, Gallery, GalleryImage, Section, Text
from analysis.report.inputs import Material
from trainables.run_folder import EXAMPLES, TEST_RESULTS
from tuning.ledger.storage import trial_folder

PICTURES = 8
PICTURE_BYTES = 120_000
"""A larger one is made smaller."""
WIDEST = 900
"""Pixels of a picture that was."""


def examples_section(m: Material) -> Section:
    """Test images with the truth and what the best scored trial saw."""
    title = "Example predictions"
    trial = _with_examples(m)
    if trial is None:
        words = (
            "No pictures are kept; they are stored when a trial is scored on test images after a sweep"
            f" (`adaptertune predict {m.folder.name}:best IMAGES` draws others)."
        )
        return Section("examples", title, (Absent(words),))
    folder = trial_folder(m.folder, trial) / TEST_RESULTS
    pictures = []
    for number, entry in enumerate(_chosen(_listed(folder))):
        data = _small(folder / str(entry["file"]))
        if data is None:
            continue
        where = "in domain" if entry.get("domain") is None else f"shifted: {entry['domain']}"
        seen = str(entry.get("seen") or "nothing")
        pictures.append(
            GalleryImage(
                f"example-{number}.jpg",
                "image/jpeg",
                data,
                f"Truth on the left, prediction on the right, test image {entry.get('image')}, {where}."
                f" Seen: {seen}",
                f"{where}, {entry.get('image')}: {seen}",
            )
        )
    if not pictures:
        return Section("examples", title, (Absent(f"The pictures of trial {trial} cannot be read."),))
    words = (
        f"Trial {trial}, truth on the left, prediction on the right. Images were taken at even steps"
        " through the test images, not for how they look."
    )
    return Section(
        "examples", title, (Text(words), Gallery(tuple(pictures), "Test images; below each: what was seen."))
    )


def _with_examples(m: Material) -> int | None:
    """The best ranked trial that kept pictures."""
    for trial, _ in m.ranking.ranked:
        if (
            trial.number in m.sweep.scores
            and (trial_folder(m.folder, trial.number) / TEST_RESULTS / EXAMPLES).is_file()
        ):
            return trial.number
    return None


def _listed(folder: Path) -> list[dict[str, Any]]:
    try:
        listed = json.loads((folder / EXAMPLES).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    held = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    return [entry for entry in held if isinstance(name := entry.get("file"), str) and Path(name).name == name]


def _chosen(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All of the own domain, then one of each other in turn, up to `PICTURES`."""
    by_domain: dict[Any, list[dict[str, Any]]] = {}
    for entry in entries:
        by_domain.setdefault(entry.get("domain"), []).append(entry)
    own = by_domain.pop(None, [])[:4]
    turns = [group[i] for i in range(3) for group in by_domain.values() if i < len(group)]
    return [*own, *turns][:PICTURES]


def _small(path: Path) -> bytes | None:
    """The file as it is, or smaller where it is large; None if it is no picture."""
    from PIL import Image

    try:
        data = path.read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            if len(data) <= PICTURE_BYTES and image.format == "JPEG":
                return data
            smaller = image.convert("RGB")
            smaller.thumbnail((WIDEST, WIDEST))
    except (OSError, ValueError):
        return None
    held = io.BytesIO()
    smaller.save(held, format="JPEG", quality=80)
    return held.getvalue()
