"""The step of trials whose first blocks are frozen, after the first epoch: this checkout against another one.

    python -m benchmarks.cached_features [--against DIR] [--against-python PATH] [--rounds 5]

Two trials, `head_only` and LoRA on the last block, on three backbones: the two embedded ones (a ViT of 4
blocks for segmentation, a YOLOS of 5 for detection) and a random ViT-S/16 of 12 blocks at 96 pixels. Batches
of 8, fp32, one thread. The two checkouts are processes of their own that take turns (A B A B ...), one epoch
at a time. Printed are processor times: of the first epoch as a whole, which in this checkout also writes the
features, of a step after it, and of an evaluation of 32 images after it, and the ratio of the other checkout
to this one. Where this checkout's numbers differ from the other's, it says so.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TRAIN, VALIDATION, BATCH = 96, 32, 8
VIT_S = {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6, "intermediate_size": 1536}
SIDE = 96
BACKBONES = {"segmentation ViT 4": 4, "detection YOLOS 5": 5, "segmentation ViT-S/16 12": 12}
"""The backbones with their numbers of blocks."""
TRIALS = ("head_only", "last block")


def trial_of(name: str, blocks: int) -> dict[str, Any]:
    """A configuration that both checkouts understand."""
    own: dict[str, Any] = {"adapter": "none"}
    if name == "last block":
        own = {"adapter": "lora", "lora": {"rank": 8}, "blocks": [blocks - 1, blocks - 1]}
    return {**own, "epochs": 1000, "batch_size": BATCH, "learning_rate": 1e-3, "schedule": "constant"}


# --- in the process of one checkout ---------------------------------------------------------------


def serve(backbone: str, trial: str, vit: str) -> None:
    """Train one epoch for each line on stdin, and print its times and its loss as JSON."""
    import torch

    from trainables.preparation import prepare_workload
    from trainables.specs.trial import TrialConfig
    from trainables.specs.workload import Workload
    from trainables.training.engine import Engine

    torch.set_num_threads(1)
    task, large = backbone.split()[0], backbone.endswith("12")
    asked = {
        "task": task,
        "model": {"name": vit} if large else {},
        "objective": {"metric": "loss"},
        "data": {"embedded": {"train": TRAIN, "validation": VALIDATION, "test": 2}},
    }
    workload = Workload.model_validate_json(json.dumps(asked))
    engine = Engine(workload, prepare_workload(workload), device="cpu")
    config = TrialConfig.model_validate_json(json.dumps(trial_of(trial, BACKBONES[backbone])))
    state = engine.start(config)
    print(json.dumps("ready"), flush=True)
    for _ in sys.stdin:
        started, steps = time.process_time(), []
        while True:
            before = time.process_time()
            reports = list(engine.advance([state], steps=1))
            steps.append(time.process_time() - before)
            if reports:
                break
        step = statistics.median(steps[:-1])
        found = {"epoch_s": time.process_time() - started, "step_ms": 1000 * step}
        found["evaluate_ms"] = 1000 * (steps[-1] - step)
        print(json.dumps({**found, "loss": reports[0][1].metrics["loss"]}), flush=True)


def save_vit(folder: str) -> None:
    """Write a random ViT-S/16."""
    import torch
    from transformers import ViTConfig, ViTModel
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    torch.manual_seed(0)
    ViTModel(ViTConfig(**VIT_S, image_size=SIDE, patch_size=16), add_pooling_layer=False).save_pretrained(
        folder
    )
    ViTImageProcessorPil(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)


# --- in the measuring process ---------------------------------------------------------------------


@dataclass
class Checkout:
    """A checkout with its interpreter, and the epochs that it has trained of the present trial."""

    folder: Path
    python: Path
    cache: Path
    epochs: list[dict[str, float]] = field(default_factory=list)
    process: subprocess.Popen[str] | None = None

    def start(self, backbone: str, trial: str, vit: str) -> None:
        """Start a process that waits to train the trial."""
        environment = os.environ | {
            "PYTHONPATH": str(self.folder),
            "ADAPTERTUNE_CACHE": str(self.cache),
            "HF_HUB_OFFLINE": "1",
        }
        command = [str(self.python), "-P", str(Path(__file__).resolve()), "--serve", backbone, trial, vit]
        self.process = subprocess.Popen(
            command,
            cwd=self.cache,
            env=environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._answer()
        self.epochs = []

    def train(self) -> None:
        """Train one epoch."""
        assert self.process is not None
        assert self.process.stdin is not None
        print("go", file=self.process.stdin, flush=True)
        self.epochs.append(self._answer())

    def end(self) -> None:
        """End the process."""
        if self.process is not None and self.process.stdin is not None:
            self.process.stdin.close()
            self.process.wait()

    def _answer(self) -> Any:
        assert self.process is not None
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the process of {self.folder} ended")
        return json.loads(line)

    def median(self, name: str) -> float:
        """Over the epochs after the first."""
        return statistics.median(epoch[name] for epoch in self.epochs[1:])


def measure(checkouts: list[Checkout], rounds: int, vit: str) -> None:
    """Measure and print each trial on each backbone."""
    columns = ("first epoch s", "step ms", "evaluation ms")
    both = len(checkouts) == 2
    names = ("this", "other", "other/this")[: 3 if both else 1]
    print(f"load {os.getloadavg()[0]:.1f}; {rounds} epochs after the first, in turns")
    print(f"{'':<36}" + "".join(f"{column:>{10 * len(names)}}" for column in columns))
    print(f"{'':<36}" + "".join(f"{name:>10}" for name in names) * len(columns))
    for backbone in BACKBONES:
        for trial in TRIALS:
            try:
                for checkout in checkouts:
                    checkout.start(backbone, trial, vit)
                for turn in range(rounds + 1):
                    for checkout in checkouts if turn % 2 else checkouts[::-1]:
                        checkout.train()
            finally:
                for checkout in checkouts:
                    checkout.end()
            line = f"{backbone + ', ' + trial:<36}"
            for values in (
                [checkout.epochs[0]["epoch_s"] for checkout in checkouts],
                [checkout.median("step_ms") for checkout in checkouts],
                [checkout.median("evaluate_ms") for checkout in checkouts],
            ):
                line += "".join(f"{value:>10.2f}" for value in values)
                line += f"{values[1] / values[0]:>9.2f}x" if both else ""
            print(line + _difference(checkouts), flush=True)
    print(f"load {os.getloadavg()[0]:.1f}")


def _difference(checkouts: list[Checkout]) -> str:
    losses = [[epoch["loss"] for epoch in checkout.epochs] for checkout in checkouts]
    most = max((abs(a - b) / abs(b) for a, b in zip(losses[0], losses[-1], strict=True)), default=0.0)
    return f"  losses differ by {most:.0e}" if most else ""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--against", type=Path, metavar="DIR", help="another checkout")
    parser.add_argument(
        "--against-python", type=Path, metavar="PATH", default=Path(sys.executable), help="its interpreter"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve is not None:
        serve(*given.serve)
        return
    with tempfile.TemporaryDirectory() as folder:
        vit = f"{folder}/vit"
        save_vit(vit)
        checkouts = [Checkout(ROOT, Path(sys.executable), Path(folder) / "this")]
        if given.against is not None:
            against = given.against.resolve()
            checkouts.append(Checkout(against, given.against_python, Path(folder) / "other"))
        for checkout in checkouts:
            checkout.cache.mkdir()
        measure(checkouts, given.rounds, vit)


if __name__ == "__main__":
    main()
