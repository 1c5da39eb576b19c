"""Exported models of every kind, and their outputs in a process without our packages."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from trainables.backbones import EMBEDDED
from trainables.export.card_facts import Card
from trainables.export.write import ExportResult, export_model
from trainables.inference.trained_model import TrainedModel
from trainables.models.build import build_model
from trainables.specs.adapters import Adapter
from trainables.specs.trial import TrialConfig
from trainables.specs.workload import Task, Workload
from trainables.tasks.registry import load_task

CPU = torch.device("cpu")
UNKNOWN = ("cat", "dog", "emu")
"""Classes that the embedded checkpoints do not know, so that heads are new and of another size."""


@dataclass(frozen=True)
class Case:
    """A model to export, and how."""

    task: Task
    settings: str
    merge: bool = False

    @property
    def name(self) -> str:
        return f"{self.task}-{self.settings}{'-merged' if self.merge else ''}"


SETTINGS: dict[str, dict[str, Any]] = {
    "none": {"adapter": "none"},
    "full": {"adapter": "none", "freezing": "full"},
    "lora": {"adapter": "lora", "targets": ["query", "value", "mlp"], "lora": {"dropout": 0.1}},
    "lora-dora-rslora": {"adapter": "lora", "lora": {"dora": True, "rslora": True}},
    "lora-unfrozen": {"adapter": "lora", "freezing": "unfrozen", "frozen_blocks": 1},
    "adalora": {"adapter": "adalora", "adalora": {"init_rank": 6, "target_rank": 2}},
    "loha": {"adapter": "loha", "blocks": [1, 2]},
    "lokr": {"adapter": "lokr", "lokr": {"decompose_both": True, "rank": 2}},
    "serial_lora": {"adapter": "serial_lora"},
    "serial_lora-apart-unfrozen": {
        "adapter": "serial_lora",
        "serial_lora": {"shared": False},
        "freezing": "unfreeze_at",
        "unfreeze_epoch": 1,
    },
    "localized_lora": {"adapter": "localized_lora", "localized_lora": {"blocks": 4, "block_rank": 2}},
    "peft": {"adapter": "peft", "peft": {"method": "IA3"}, "targets": ["key", "value", "mlp_out"]},
    "peft-vera": {"adapter": "peft", "peft": {"method": "VERA", "arguments": {"r": 8}}},
    # PEFT cannot merge it: with a trained backbone, the export includes that backbone.
    "peft-lily-unfrozen": {"adapter": "peft", "peft": {"method": "LILY"}, "freezing": "unfrozen"},
}
CASES = [
    Case(task, name, merge)
    for task in EMBEDDED
    for name, settings in SETTINGS.items()
    for merge in (False, True)
    if not merge or (settings.get("freezing", "frozen") == "frozen" and settings["adapter"] != "none")
]
FEW = [
    case
    for case in CASES
    if case.task is Task.SEGMENTATION
    or (not case.merge and case.settings not in ("lora-dora-rslora", "peft-vera", "loha"))
]
"""The cases that `make test` has time for: for detection none that is merged."""
assert {SETTINGS[case.settings]["adapter"] for case in FEW if case.task is Task.SEGMENTATION} == set(Adapter)


def workload(task: Task, name: str = "embedded") -> Workload:
    return Workload.model_validate_json(
        json.dumps({"task": task, "model": {"name": name}, "objective": {"metric": "loss"}})
    )


def trained(
    task: Task, settings: dict[str, Any], classes: tuple[str, ...] = UNKNOWN, name: str = "embedded"
) -> TrainedModel:
    """A model in which every trainable weight has changed; some of AdaLoRA's ranks are pruned."""
    asked = workload(task, name)
    config = TrialConfig.model_validate_json(json.dumps(settings))
    loaded = load_task(asked, classes, CPU)
    torch.manual_seed(0)
    built = build_model(loaded, config, total_steps=20)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for part in (built.parts.adapter, built.parts.head, built.parts.movable(config)):
            for parameter in part.values():
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=draw))
        scores = [p for n, p in built.parts.adapter.items() if ".lora_E." in n]
        for number, score in enumerate(scores):
            score[: min(number, len(score))] = 0.0
    return TrainedModel(asked, config, classes, loaded, built.model, built.adapted, built.parts)


def outputs(model: Any, images: Tensor) -> Tensor:
    with torch.inference_mode():
        found = model(images)
        return found if isinstance(found, Tensor) else torch.cat([found.logits, found.pred_boxes], dim=-1)


def images_for(model: TrainedModel) -> Tensor:
    size = model.task.resize.target(64, 64)
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(3))


@dataclass(frozen=True)
class Exported:
    """A folder, and the model's outputs before it was written."""

    result: ExportResult
    expected: Tensor
    images: Tensor


def export_case(case: Case, folder: Path) -> Exported:
    model = trained(case.task, SETTINGS[case.settings])
    images = images_for(model)
    expected = outputs(model.model, images)
    return Exported(export_model(model, folder, merge=case.merge, card=Card(case.name)), expected, images)


ELSEWHERE = """
import importlib.util, json, sys
from pathlib import Path

BARRED = {barred!r}


class Bar:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in BARRED:
            raise ModuleNotFoundError(name + " is barred here", name=name)


sys.meta_path.insert(0, Bar())
sys.dont_write_bytecode = True
import torch
from safetensors.torch import load_file, save_file

torch.set_num_threads(1)
found, errors = {{}}, {{}}
for folder, images in json.loads(Path(sys.argv[1]).read_text()).items():
    spec = importlib.util.spec_from_file_location("use", Path(folder) / "use.py")
    use = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(use)
    try:
        with torch.inference_mode():
            out = use.load(folder)(pixel_values=load_file(images)["images"])
        out = torch.cat([out.logits, out.pred_boxes], dim=-1) if hasattr(out, "logits") else out
        found[folder] = out.contiguous()
    except Exception as error:
        errors[folder] = repr(error)
save_file(found, sys.argv[2])
Path(sys.argv[3]).write_text(json.dumps(errors))
"""
OURS = ("analysis", "tuning", "trainables", "search_spaces", "cluster")
NEEDLESS = ("ray", "optuna", "duckdb", "hotcoco")
"""Installed packages that must not be imported; transformers itself imports others if they are installed."""


def load_elsewhere(
    python: Path, exported: dict[str, Exported], scratch: Path, *, barred: tuple[str, ...] = OURS + NEEDLESS
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Outputs of each exported model in a process of `python` far from the repository; and errors."""
    from safetensors.torch import save_file

    scratch.mkdir(parents=True, exist_ok=True)
    asked = {}
    for number, held in enumerate(exported.values()):
        save_file({"images": held.images}, scratch / f"{number}.safetensors")
        asked[str(held.result.folder)] = str(scratch / f"{number}.safetensors")
    (scratch / "script.py").write_text(ELSEWHERE.format(barred=barred), encoding="utf-8")
    (scratch / "asked.json").write_text(json.dumps(asked), encoding="utf-8")
    files = [scratch / "asked.json", scratch / "found.safetensors", scratch / "errors.json"]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"HF_HUB_OFFLINE": "1"}
    command = [str(python), "-I", str(scratch / "script.py"), *map(str, files)]
    done = subprocess.run(command, cwd=scratch, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    names = {str(held.result.folder): name for name, held in exported.items()}
    found = {names[folder]: tensor for folder, tensor in load_file(files[1]).items()}
    errors = {names[folder]: text for folder, text in json.loads(files[2].read_text()).items()}
    return found, errors
