"""Time and memory of a step at true size: RT-DETRv2-R18 and DINOv3 ViT-S/16, against plain loops.

    python -m benchmarks.true_size [--rounds 3] [--steps 4] [--batch 2] [--threads 2] [--models dinov3 rtdetr]

The models are built from their configs with random weights: 640×640 pixels, 80 classes, and 512×512 pixels,
2 classes under a head of one 3×3 convolution. Trained are LoRA of rank 8 on a frozen backbone, and all
weights. The plain loop is what a user writes with transformers and PEFT: its own forward pass, loss and
AdamW, on images that are ready in memory. Each measurement is a process of its own, so that its peak of
resident memory is that of the step; the two programs take turns (A B B A ...). It prints the median of the
rounds, their ratio, and the load.
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
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MODELS = ("rtdetr", "dinov3")
MODES = ("lora", "full")
WARM_UP = 1
"""Steps before the first measured one."""


def build_models(folder: Path) -> dict[str, Path]:
    """Save both models in hub format. Their sizes are those of the published checkpoints."""
    import torch
    from transformers import DINOv3ViTConfig, DINOv3ViTModel, RTDetrResNetConfig, RTDetrV2Config
    from transformers import RTDetrV2ForObjectDetection as Detector

    torch.manual_seed(0)
    backbone = RTDetrResNetConfig(
        embedding_size=64, hidden_sizes=[64, 128, 256, 512], depths=[2, 2, 2, 2], layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    detector = RTDetrV2Config(
        backbone_config=backbone, encoder_in_channels=[128, 256, 512], hidden_expansion=0.5, decoder_layers=3,
        num_labels=80,
    )  # fmt: skip
    Detector(detector).save_pretrained(folder / "rtdetr")
    settings = {"image_processor_type": "RTDetrImageProcessor", "size": {"height": 640, "width": 640}}
    (folder / "rtdetr" / "preprocessor_config.json").write_text(json.dumps(settings))
    vit = DINOv3ViTConfig(
        hidden_size=384, intermediate_size=1536, num_hidden_layers=12, num_attention_heads=6,
        num_register_tokens=4, image_size=512, patch_size=16,
    )  # fmt: skip
    DINOv3ViTModel(vit).save_pretrained(folder / "dinov3")
    settings = {"image_processor_type": "DINOv3ViTImageProcessor", "size": {"height": 512, "width": 512}}
    (folder / "dinov3" / "preprocessor_config.json").write_text(json.dumps(settings))
    return {name: folder / name for name in MODELS}


def measure_ours(name: str, folder: Path, mode: str, steps: int, batch: int) -> list[float]:
    """Seconds of each step of a trial."""
    from trainables.preparation import prepare_workload
    from trainables.specs.trial import TrialConfig
    from trainables.specs.workload import Workload
    from trainables.training.engine import Engine

    asked = {
        "task": "detection" if name == "rtdetr" else "segmentation",
        "model": {"name": str(folder), "new_head": True},
        "objective": {"metric": "loss"},
        "data": {"embedded": {"train": batch * (steps + WARM_UP), "validation": 1, "test": 1}, "cache_gb": 0},
    }
    workload = Workload.model_validate_json(json.dumps(asked))
    engine = Engine(workload, prepare_workload(workload), device="cpu")
    adapter = {"adapter": "lora", "lora": {"rank": 8}}
    trained = adapter if mode == "lora" else {"adapter": "none", "freezing": "full"}
    settings = {**trained, "epochs": 2, "batch_size": batch}
    state = engine.start(TrialConfig.model_validate_json(json.dumps(settings)))
    return [engine.timed_step(state) for _ in range(WARM_UP + steps)][WARM_UP:]


def measure_plain(name: str, folder: Path, mode: str, steps: int, batch: int) -> list[float]:
    """Seconds of each step of a loop in plain PyTorch."""
    import torch
    from peft import LoraConfig, get_peft_model
    from torch import nn

    model, side, classes = _plain_model(name, folder)
    if mode == "lora":
        names = ["q_proj", "v_proj", "value_proj"]
        head = ["head"] if name == "dinov3" else ["class_embed", "bbox_embed", "enc_score_head"]
        model.requires_grad_(False)
        get_peft_model(getattr(model, "backbone", model), LoraConfig(r=8, target_modules=names))
        for parameter_name, parameter in model.named_parameters():
            if "lora_" in parameter_name or any(part in parameter_name for part in head):
                parameter.requires_grad_(True)
    model.train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4)
    images = torch.rand(batch, 3, side, side)
    box = torch.tensor([[0.3, 0.3, 0.2, 0.2], [0.6, 0.6, 0.3, 0.2]])
    labels = [{"class_labels": torch.tensor([1, 2]), "boxes": box} for _ in range(batch)]
    masks = torch.randint(0, classes, (batch, side, side))
    times = []
    for _ in range(WARM_UP + steps):
        started = time.perf_counter()
        if name == "rtdetr":
            loss = model(pixel_values=images, labels=labels).loss
        else:
            loss = nn.functional.cross_entropy(model(images), masks)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        times.append(time.perf_counter() - started)
    return times[WARM_UP:]


def _plain_model(name: str, folder: Path) -> tuple[Any, int, int]:
    import torch
    from torch import Tensor, nn
    from transformers import AutoModel, AutoModelForObjectDetection

    if name == "rtdetr":
        detector: Any = AutoModelForObjectDetection.from_pretrained(folder)
        detector._tied_weights_keys = None  # PEFT would look for embeddings
        return detector, 640, 80

    class Segmenter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = AutoModel.from_pretrained(folder)
            self.head = nn.Sequential(nn.Conv2d(384, 192, 3, padding=1), nn.ReLU(), nn.Conv2d(192, 2, 1))

        def forward(self, images: Tensor) -> Tensor:
            tokens = self.backbone(pixel_values=images).last_hidden_state[:, 5:]
            maps = tokens.transpose(1, 2).reshape(len(images), 384, 32, 32)
            found: Tensor = torch.nn.functional.interpolate(self.head(maps), size=512, mode="bilinear")
            return found

    return Segmenter(), 512, 2


def run(given: argparse.Namespace) -> None:
    """Measure all cases and print a table."""
    with tempfile.TemporaryDirectory() as scratch:
        folders = build_models(Path(scratch))
        print(f"load at the start: {os.getloadavg()[0]:.1f}; {given.threads} threads, batch {given.batch}")
        print("| model | trained | ours s/step | plain s/step | plain ÷ ours | ours MB | plain MB |")
        print("|---|---|---|---|---|---|---|")
        for name in given.models:
            for mode in MODES:
                found: dict[str, list[dict[str, float]]] = {"ours": [], "plain": []}
                for number in range(given.rounds):
                    order = ("ours", "plain") if number % 2 == 0 else ("plain", "ours")
                    for who in order:
                        found[who].append(_measured(given, who, name, folders[name], mode, scratch))
                times = {who: statistics.median(one["seconds"] for one in found[who]) for who in found}
                peaks = {who: max(one["peak_mb"] for one in found[who]) for who in found}
                print(
                    f"| {name} | {mode} | {times['ours']:.2f} | {times['plain']:.2f} |"
                    f" {times['plain'] / times['ours']:.2f} | {peaks['ours']:,.0f} | {peaks['plain']:,.0f} |",
                    flush=True,
                )
        print(f"load at the end: {os.getloadavg()[0]:.1f}")


def _measured(
    given: argparse.Namespace, who: str, name: str, folder: Path, mode: str, scratch: str
) -> dict[str, float]:
    case = {"who": who, "name": name, "folder": str(folder), "mode": mode}
    counts = {"steps": given.steps, "batch": given.batch, "threads": given.threads}
    environment = os.environ | {"ADAPTERTUNE_CACHE": f"{scratch}/cache", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "benchmarks.true_size", "--one", json.dumps(case | counts)]
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


def one(case: dict[str, Any]) -> None:
    """Measure one case in this process and print it."""
    import torch

    from trainables.training.peak_memory import peak_memory_mb

    torch.set_num_threads(case["threads"])
    measure = measure_ours if case["who"] == "ours" else measure_plain
    times = measure(case["name"], Path(case["folder"]), case["mode"], case["steps"], case["batch"])
    peak = peak_memory_mb(torch.device("cpu"))
    print(json.dumps({"seconds": statistics.median(times), "peak_mb": peak}))


def main() -> None:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        one(json.loads(given.one))
    else:
        run(given)


if __name__ == "__main__":
    main()
