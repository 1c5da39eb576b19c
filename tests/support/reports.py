"""Records with content for each section of a report."""

from __future__ import annotations

import json
import math
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ablations import ran
from PIL import Image
from recorded import DOMAINS, FLOORS, Told, experiment, write

from analysis.report.document import (
    Absent,
    Block,
    FactList,
    Figure,
    Listing,
    Points,
    ReportDocument,
    Text,
)
from analysis.tables import Table
from trainables.metrics.details import Details, write_details
from trainables.metrics.per_image import MaskImages
from trainables.metrics.per_image import write_per_image as write_images
from trainables.run_folder import DETAILS, EXAMPLES, TEST_RESULTS, image_results
from tuning.ledger.outcomes import Ending, Outcome
from tuning.ledger.records import ScoredRecord
from tuning.ledger.storage import trial_folder

HOSTILE = '<script>alert("1")</script> & $x$ `a`'
CLASSES = ("ground", "7")
FIGURES = ("dice", "dice/ground", "dice/7")
"""The metrics of a scored trial that are computed from its results by image."""
RANKS = {4: {1: 0.60, 2: 0.61, 3: 0.60}, 8: {1: 0.70, 2: 0.72, 3: 0.71}, 16: {1: 0.70, 2: 0.73, 3: 0.70}}


def told(count: int, epochs: int = 6, seed: int = 0) -> list[Told]:
    """So many trials as ASHA leaves them; the learning rate matters, the other settings hardly."""
    rng = random.Random(seed)
    trials = []
    for number in range(count):
        adapter = rng.choice(["none", "lora", "serial_lora"])
        params: dict[str, Any] = {
            "adapter": adapter,
            "freezing": rng.choice(["head_only", "full"] if adapter == "none" else ["frozen", "unfrozen"]),
            "learning_rate": float(f"{10 ** rng.uniform(-3, -2):.4g}"),
        }
        if adapter == "lora":
            params["lora.rank"] = rng.choice([4, 8, 16])
        top = 0.8 - 0.5 * abs(math.log10(params["learning_rate"]) + 2.5) + rng.uniform(-0.02, 0.02)
        ran_ = epochs if top > 0.68 else 3 if top > 0.6 else 1
        curve = [top * (1 - 0.5**epoch) for epoch in range(1, ran_ + 1)]
        outcome = Outcome.COMPLETED if ran_ == epochs else Outcome.PRUNED
        size = {"adapter": 0 if adapter == "none" else 1000 * (number % 5 + 1), "head": 2000, "total": 10**6}
        above = [(value - 0.35, value - 0.25) for value in curve]  # the floor is 0.3
        parts = {**size, "backbone": 0}
        trials.append(Told(params, curve, outcome, parameters=parts, above_floor=above))
    return trials


def rich(storage: Path, **parts: Any) -> Path:
    """40 trials, two of them lost, with scores, results by image and pictures; and a rank ablation."""
    trials = told(38)
    trials.append(Told(trials[0].params, (0.2,), Outcome.FAILED, HOSTILE))
    trials.append(Told(trials[1].params, (0.2,), Outcome.DIVERGED, "the loss is not finite at epoch 2"))
    scored = _finished(trials)[:3]
    scores = [
        ScoredRecord(
            trial=number, epoch=6.0, metrics={name: _by_image(number).metric(name) for name in FIGURES},
            robustness={"noisy": 0.5, "dim": 0.9},
            domains={"dim": {"dice": 0.63, "dice/7": 0.5}, "noisy": {"dice": 0.35, "dice/7": 0.2}},
        )
        for number in scored
    ]  # fmt: skip
    scores.append(ScoredRecord(trial=None, metrics={"dice": 0.01}, domains={"dim": {"dice": 0.01}}))
    asked = experiment("digits", data={"embedded": {}, "domains": DOMAINS}, **parts)
    folder = write(storage / "digits", trials, of=asked, scores=scores, floors=FLOORS)
    for number in scored:
        write_images(_by_image(number), image_results(trial_folder(folder, number)))
        _pictures(trial_folder(folder, number) / TEST_RESULTS)
        confusion = np.array([[90 + number, 10], [4, 6]])
        write_details(Details(CLASSES, confusion), trial_folder(folder, number) / TEST_RESULTS / DETAILS)
    beside = storage.parent / f"{storage.name}-beside"
    ablation = ran(beside, RANKS, test=RANKS)
    shutil.move(str(ablation), str(storage / ablation.name))
    shutil.rmtree(beside)
    return folder


def _finished(trials: Sequence[Told]) -> list[int]:
    """Best first."""
    ended = [n for n, trial in enumerate(trials) if trial.outcome is Outcome.COMPLETED]
    return sorted(ended, key=lambda n: -max(trials[n].curve))


def _by_image(seed: int, images: int = 30) -> MaskImages:
    rng = np.random.default_rng(seed)
    true = rng.integers(200, 800, images)
    right = (true * rng.uniform(0.6, 0.95, images)).astype(np.int64)
    ground = np.stack([3000 - true, 3000 - right, 3000 + 0 * true], 1)
    object_ = np.stack([right, true, right + 50], 1)
    return MaskImages(CLASSES, tuple(f"i{n}" for n in range(images)), np.stack([ground, object_], axis=2))


def _pictures(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, shade in (("own-0.jpg", 200), ("shifted-dim-0.jpg", 90)):
        Image.new("RGB", (520, 280), (shade, 120, 40)).save(folder / name)
    listed = [
        {"file": "own-0.jpg", "domain": None, "image": "a<b>.png", "seen": "7 12 %"},
        {"file": "../../../etc/passwd", "domain": None, "image": "no", "seen": ""},
        {"file": "shifted-dim-0.jpg", "domain": "dim", "image": "c.png", "seen": ""},
    ]
    (folder / EXAMPLES).write_text(json.dumps(listed), encoding="utf-8")


def many(storage: Path, count: int) -> Path:
    """A finished sweep of so many trials, without anything else."""
    return write(storage / "many", told(count), of=experiment("many", trials=count), closed=Ending.FINISHED)


def blocks(report: ReportDocument, anchor: str) -> tuple[Block, ...]:
    return next(section.blocks for section in report.sections if section.anchor == anchor)


def said(blocks: tuple[Block, ...]) -> str:
    parts = []
    for block in blocks:
        match block:
            case Text() | Absent():
                parts.append(block.text)
            case Points():
                parts += block.items
            case FactList():
                parts += [f"{name}: {value}" for name, value in block.pairs]
            case Listing():
                parts.append(block.text)
            case Table():
                parts += [block.title, *(" | ".join(row) for row in block.rows), block.caption]
            case Figure():
                parts += [block.title, block.alt, block.caption]
    return "\n".join(parts)


def figure(report: ReportDocument, name: str) -> Figure:
    return next(found for found in report.figures if found.name == name)
