"""A configuration of the quickstart with transformers and peft alone, as a careful user writes it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from peft import (
    AdaLoraConfig,
    GraloraConfig,
    IA3Config,
    LoHaConfig,
    LoKrConfig,
    LoraConfig,
    OFTConfig,
    PeftConfig,
    get_peft_model,
)
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from benchmarks.peers.plain import Segmenter, dice, fit

TARGETS = ["q_proj", "v_proj", "fc1", "fc2"]
Configuration = dict[str, Any]
"""Settings by the dotted keys of the experiment file."""


@dataclass(frozen=True)
class Size:
    """What all trials share."""

    batch: int
    epochs: int


def suggest(
    choice: Callable[[str, list[Any]], Any], rate: Callable[[str, float, float], float]
) -> Configuration:
    """A configuration of `search_spaces/quickstart.yaml`; the two functions draw a value by its key."""
    adapters = ["none", "lora", "adalora", "loha", "lokr", "serial_lora", "localized_lora", "peft"]
    adapter = choice("adapter", adapters)
    modes = ["head_only", "full"] if adapter == "none" else ["frozen", "unfrozen"]
    # One parameter has one list of choices in Optuna, so each list has a name of its own.
    kind = "without" if adapter == "none" else "with"
    found = {"adapter": adapter, "freezing": choice(f"freezing.{kind}", modes)}
    found["learning_rate"] = rate("learning_rate", 1e-3, 1e-2)
    for key, values in CHOICES.get(adapter, {}).items():
        found[key] = choice(key, values)
    return found


CHOICES: dict[str, dict[str, list[Any]]] = {
    "lora": {"lora.rank": [4, 8, 16], "lora.rslora": [False, True]},
    "adalora": {"adalora.init_rank": [12, 16], "adalora.target_rank": [4, 8]},
    "loha": {"loha.rank": [4, 8]},
    "lokr": {"lokr.rank": [4, 8]},
    "serial_lora": {"serial_lora.rank": [4, 8, 16], "serial_lora.shared": [True, False]},
    "localized_lora": {"localized_lora.block_rank": [2, 4], "localized_lora.blocks": [2, 4]},
    "peft": {"peft.method": ["IA3", "OFT"]},
}


def as_suggested(configuration: Configuration) -> dict[str, Any]:
    """A configuration under the names that `suggest` gives its parameters, to enqueue it."""
    kind = "without" if configuration["adapter"] == "none" else "with"
    renamed = {"freezing": f"freezing.{kind}"}
    return {renamed.get(key, key): value for key, value in configuration.items()}


def train(
    configuration: Configuration,
    size: Size,
    training: TensorDataset,
    validation: TensorDataset,
    report: Callable[[int, float], None],
) -> float:
    """Fine-tune one configuration; returns the best validation Dice, the mean over the foreground."""
    torch.manual_seed(0)
    model = Segmenter()
    steps = size.epochs * -(-len(training) // size.batch)
    penalty, after_step = adapt(model, configuration, steps)
    return fit(
        model,
        training,
        batch=size.batch,
        epochs=size.epochs,
        learning_rate=configuration["learning_rate"],
        score=lambda: dice(model, validation, background=False),
        report=report,
        penalty=penalty,
        after_step=after_step,
    )


def adapt(
    model: Segmenter, configuration: Configuration, steps: int
) -> tuple[Callable[[], Tensor] | None, Callable[[int], None] | None]:
    """Give the model its adapter and freeze the rest; returns what AdaLoRA adds to the loss and to a step.

    steps: those of the whole trial.
    """
    adapter, freezing = configuration["adapter"], configuration["freezing"]
    penalty, after_step = None, None
    backbone = list(model.vit.parameters())
    if adapter == "serial_lora":
        add_serial_lora(model, configuration)
    elif adapter != "none":
        model.vit = get_peft_model(model.vit, peft_config(configuration, steps))
        if adapter == "adalora":
            tuner = model.vit.base_model
            penalty, after_step = (lambda: orthogonality(tuner)), tuner.update_and_allocate
    for parameter in backbone:
        parameter.requires_grad_(freezing in ("full", "unfrozen"))
    return penalty, after_step


def peft_config(configuration: Configuration, steps: int) -> PeftConfig:
    """The configuration of one of PEFT's methods; scales are those of the quickstart."""
    own = {key.partition(".")[2]: value for key, value in configuration.items() if "." in key}
    match configuration["adapter"]:
        case "lora":
            return LoraConfig(r=own["rank"], lora_alpha=16, use_rslora=own["rslora"], target_modules=TARGETS)
        case "adalora":
            return AdaLoraConfig(
                init_r=own["init_rank"], target_r=own["target_rank"], lora_alpha=16, target_modules=TARGETS,
                tinit=round(0.1 * steps), tfinal=round(0.3 * steps), total_step=steps,
            )  # fmt: skip
        case "loha":
            return LoHaConfig(r=own["rank"], alpha=8, target_modules=TARGETS)
        case "lokr":
            return LoKrConfig(r=own["rank"], alpha=8, target_modules=TARGETS)
        case "localized_lora":
            rank, blocks = own["block_rank"], own["blocks"]
            return GraloraConfig(r=rank * blocks, gralora_k=blocks, alpha=8 * blocks, target_modules=TARGETS)
        case "peft" if own["method"] == "IA3":
            return IA3Config(target_modules=TARGETS, feedforward_modules=["fc2"])
        case "peft":
            return OFTConfig(target_modules=TARGETS)
        case other:
            raise ValueError(f"no method of PEFT for adapter {other!r}")


def orthogonality(tuner: Any) -> Tensor:
    """AdaLoRA's term of the loss, which PEFT adds only to a loss that the model itself returns."""
    sides = [(p, "lora_A" in name) for name, p in tuner.named_parameters() if re.search(r"lora_[AB]\.", name)]
    products = [side @ side.T if is_a else side.T @ side for side, is_a in sides]
    terms = [torch.linalg.matrix_norm(p - torch.eye(len(p))) for p in products]
    weighted: Tensor = tuner.peft_config["default"].orth_reg_weight * torch.stack(terms).mean()
    return weighted


class Pair(nn.Module):
    """x + B(A x), with B = 0 at the start."""

    def __init__(self, width: int, rank: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, rank, bias=False), nn.Linear(rank, width, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        changed: Tensor = x + self.up(self.down(x))
        return changed


def add_serial_lora(model: Segmenter, configuration: Configuration) -> None:
    """Serial LoRA, which PEFT lacks: change the input of each target, with one pair a block if shared."""
    pairs: dict[Any, Pair] = {}
    for name, layer in model.vit.named_modules():
        if name.rpartition(".")[2] in TARGETS:
            block = re.search(r"layers?\.(\d+)\.", name)
            shared = (block and block[1], layer.in_features)
            key = shared if configuration["serial_lora.shared"] else name
            if key not in pairs:
                pairs[key] = Pair(layer.in_features, configuration["serial_lora.rank"])
            layer.register_forward_pre_hook(lambda _, given, pair=pairs[key]: (pair(given[0]), *given[1:]))
    model.pairs = nn.ModuleList(pairs.values())
