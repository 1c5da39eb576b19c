"""The section of example predictions."""

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
"""A larger picture is scaled down."""
WIDEST = 900
"""The maximum width and height, in pixels, of a picture that is scaled down."""


def examples_section(m: Material) -> Section:
    """Test images with the ground truth and the prediction of the best scored trial."""
    title = "Example predictions"
    trial = _with_examples(m)
    if trial is None:
        text = (
            "No pictures are stored. They are stored when a trial is scored on test images after a sweep;"
            f" `adaptertune predict {m.folder.name}:best IMAGES` draws others."
        )
        return Section("examples", title, (Absent(text),))
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
                f"Ground truth on the left, prediction on the right, test image {entry.get('image')},"
                f" {where}. Predicted: {seen}",
                f"{where}, {entry.get('image')}: {seen}",
            )
        )
    if not pictures:
        return Section("examples", title, (Absent(f"The pictures of trial {trial} cannot be read."),))
    text = (
        f"Trial {trial}, ground truth on the left, prediction on the right. The images are evenly spaced"
        " among the test images, not selected by result."
    )
    return Section(
        "examples", title, (Text(text), Gallery(tuple(pictures), "Test images; below each: the prediction."))
    )


def _with_examples(m: Material) -> int | None:
    """The best ranked trial with stored pictures."""
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
    """Up to four pictures in domain, then one of each shifted domain in turn, up to `PICTURES`."""
    by_domain: dict[Any, list[dict[str, Any]]] = {}
    for entry in entries:
        by_domain.setdefault(entry.get("domain"), []).append(entry)
    own = by_domain.pop(None, [])[:4]
    turns = [group[i] for i in range(3) for group in by_domain.values() if i < len(group)]
    return [*own, *turns][:PICTURES]


def _small(path: Path) -> bytes | None:
    """The file as it is, or scaled down if it is large; None if it is not an image."""
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
