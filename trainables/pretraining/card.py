"""Writes the card of an embedded backbone: how it was trained, and its metrics on every domain.

    python -m trainables.pretraining.card detection FOLDER

Metrics are those of the pretrained baseline on test scenes, with digits that it was not trained on, as
mean and standard deviation over independently drawn sets of scenes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from pathlib import Path

import torch

from trainables.backbones import EMBEDDED
from trainables.preparation import prepare_workload
from trainables.specs.data import Domain, Split
from trainables.specs.trial import TrialConfig
from trainables.specs.workload import Task, Workload
from trainables.training.engine import Engine

SCENES, DRAWS = 200, 5
METRICS = {Task.DETECTION: ("map_50", "map"), Task.SEGMENTATION: ("dice", "iou")}
MODELS = {Task.DETECTION: "YOLOS", Task.SEGMENTATION: "ViT with a segmentation head"}
NAMES = {"map_50": "AP50", "map": "AP", "dice": "Dice", "iou": "IoU"}


def measure_baseline(task: Task, folder: Path, domain: Domain) -> dict[str, list[float]]:
    """Each metric of the pretrained baseline on `DRAWS` sets of test scenes of `domain`."""
    values: dict[str, list[float]] = {name: [] for name in METRICS[task]}
    for seed in range(DRAWS):
        workload = Workload.model_validate_json(
            json.dumps(
                {
                    "task": task,
                    "model": {"name": str(folder.resolve())},
                    "objective": {"metric": METRICS[task][0]},
                    "data": {
                        "embedded": {
                            "domain": domain, "seed": seed, "train": 1, "validation": 1, "test": SCENES
                        }
                    },
                }
            )
        )  # fmt: skip
        engine = Engine(workload, prepare_workload(workload))
        config = TrialConfig.model_validate_json('{"adapter": "none"}')
        metrics = engine.evaluate(engine.task.assemble(config, share=True), config, Split.TEST)
        for name in values:
            values[name].append(metrics[name])
    return values


def backbone_card(task: Task, folder: Path) -> str:
    """The card as Markdown."""
    made = json.loads((folder / "pretraining.json").read_text())
    lines = [
        f"# {folder.name}",
        "",
        f"A tiny {MODELS[task]} for {task}, "
        "trained by `trainables/pretraining/pretrain.py` on scenes of handwritten digits (scikit-learn's "
        "copy of the UCI optical digits, CC BY 4.0), clean domain, training digits only.",
        "",
        f"Seed {made['seed']}, {made['steps']:,} steps of {made['batch']} from {made['scenes']:,} scenes, "
        f"{made['seconds'] / 60:.0f} minutes (wall clock of a shared machine) "
        f"on {made['threads']} CPU thread, torch {made['torch']}.",
        "",
        f"Metrics of the pretrained baseline on {DRAWS} × {SCENES} test scenes of 64 pixels, mean ± standard "
        "deviation over the draws; written by `python -m trainables.pretraining.card`.",
        "",
        "| domain | " + " | ".join(NAMES[n] for n in METRICS[task]) + " |",
        "|---|" + "---|" * len(METRICS[task]),
    ]
    for domain in Domain:
        cells = [
            f"{statistics.mean(v):.3f} ± {statistics.stdev(v):.3f}"
            for v in measure_baseline(task, folder, domain).values()
        ]
        lines.append(f"| {domain} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("task", type=Task, choices=list(EMBEDDED))
    parser.add_argument("folder", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["ADAPTERTUNE_CACHE"] = cache
        text = backbone_card(asked.task, asked.folder)
    (asked.folder / "README.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
