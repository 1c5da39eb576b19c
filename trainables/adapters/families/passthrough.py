"""Any other PEFT method, by the name of its PeftType and the arguments of its configuration."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, get_type_hints

from peft import PeftConfig, PeftType, PromptLearningConfig
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING
from peft.tuners.lily import LilyModel
from torch import nn

from trainables.adapters.family import ADAPTER_NAME, AdapterFamily, Kept
from trainables.adapters.layout import Layout
from trainables.adapters.peft_arguments import pattern_faults
from trainables.adapters.peft_types import did_you_mean, misfit
from trainables.adapters.unfit_methods import PROMPTS, UNFIT
from trainables.errors import AdapterError
from trainables.specs.adapters import PeftSpec, Role
from trainables.specs.trial import TrialConfig

OWN = {field.name for field in dataclasses.fields(PeftConfig)} | {
    "target_modules",
    "feedforward_modules",
    "exclude_modules",
    "target_parameters",
    "layers_to_transform",
    "layers_pattern",
    "layer_replication",
    "modules_to_save",
    "trainable_token_indices",
    "bias",
    "runtime_config",
}
"""Arguments that `targets`, `blocks`, `freezing` or the engine set."""


def offered_methods() -> list[str]:
    """The names of the PEFT methods that can be used."""
    return sorted(
        kind.value
        for kind, config in PEFT_TYPE_TO_CONFIG_MAPPING.items()
        if kind.value not in UNFIT
        and not issubclass(config, PromptLearningConfig)
        and PEFT_TYPE_TO_TUNER_MAPPING.get(kind) is not None
    )


def passthrough(config: TrialConfig, layout: Layout, total_steps: int) -> PeftConfig:
    """The configuration of the method in `config.peft`.

    Its targets are the linear layers of the roles; for LN_TUNING, the norm layers of the blocks. The
    feed-forward modules of IA3, which scales their input, are those with the role mlp_out.
    total_steps: unused, no offered method depends on them.
    Raises AdapterError for a method or argument that PEFT lacks or that cannot work here.
    """
    spec = config.section
    targets = layout.targets(config.roles, config.blocks)
    kind = _kind(spec)
    own: dict[str, Any] = {"target_modules": list(targets)}
    if kind is PeftType.LN_TUNING:
        own["target_modules"] = list(layout.norms_in(config.blocks))
    if kind is PeftType.IA3:
        own["feedforward_modules"] = [t for t in targets if t in layout.linears.get(Role.MLP_OUT, ())]
    if spec.arguments.get("init_lora_weights") == "eva" and "eva_config" not in spec.arguments:
        own["eva_config"] = {}  # PEFT warns that it takes the defaults
    if kind is PeftType.FROD and "progressbar" not in spec.arguments:
        own["progressbar"] = False
    made = PEFT_TYPE_TO_CONFIG_MAPPING[kind]
    known = [field.name for field in dataclasses.fields(made) if field.init]
    faults = [
        fault for name in spec.arguments if (fault := _argument_fault(spec.method, name, known)) is not None
    ]
    if faults:
        raise AdapterError("; ".join(faults))
    try:
        return made(**spec.arguments, **own)
    except Exception as error:  # PEFT raises errors of any type, which the user has to fix
        raise AdapterError(f"peft.arguments: {spec.method} rejects them: {error}") from error


def passthrough_faults(config: TrialConfig, layout: Layout) -> list[str]:
    """Arguments of another type than PEFT's, and keys of patterns that match none of the layers."""
    spec = config.section
    hints = get_type_hints(PEFT_TYPE_TO_CONFIG_MAPPING[_kind(spec)])
    found = [
        f"peft.arguments.{name}{fault}"
        for name, value in spec.arguments.items()
        if name in hints and name not in OWN and (fault := misfit(value, hints[name], name)) is not None
    ]
    return found + pattern_faults(spec.method, spec.arguments, layout.targets(config.roles, config.blocks))


def method_fault(method: str) -> str | None:
    """Why one of PEFT's methods cannot be used; None if it can."""
    name = method.upper()
    if name in offered_methods():
        return None
    return UNFIT.get(name, PROMPTS)


def _kind(spec: PeftSpec) -> PeftType:
    name = spec.method.upper()
    kind = next((k for k in PEFT_TYPE_TO_CONFIG_MAPPING if k.value == name), None)
    if kind is None:
        raise AdapterError(
            f"peft.method: PEFT has no method '{spec.method}'{did_you_mean(name, offered_methods())}"
        )
    if (fault := method_fault(name)) is not None:
        raise AdapterError(
            f"peft.method: {name} cannot be used here: {fault}; use one of {', '.join(offered_methods())}"
        )
    return kind


def _argument_fault(method: str, name: str, known: Sequence[str]) -> str | None:
    if name in OWN:
        return (
            f"peft.arguments.{name} cannot be set in the file: "
            "targets, blocks and freezing determine what is adapted and what trains"
        )
    if name not in known:
        usable = [n for n in known if n not in OWN]
        return f"peft.arguments.{name}: {method.upper()} has no such argument{did_you_mean(name, usable)}"
    return None


def _share_lily(model: nn.Module, config: TrialConfig, layout: Layout, kept: Kept | None) -> None:
    """Share LILY's A and B between layers of the same role, as the method does.

    PEFT groups layers by the name in `target_modules` that they end with. Here those are full names, of
    exactly the targets, so that each layer would be a group of its own.
    """
    if config.section.method.upper() != PeftType.LILY.value:
        return
    apart = {name for name, _ in model.named_parameters() if ".lily_" in name}
    if kept is not None and apart <= kept.names:
        return  # it was trained before layers shared their weights
    names = layout.targets(config.roles, config.blocks)
    inside = {name.removeprefix(f"{layout.blocks[layout.block_of(name) or 0]}.") for name in names}
    grouped = PEFT_TYPE_TO_CONFIG_MAPPING[PeftType.LILY](**config.section.arguments, target_modules=inside)
    LilyModel._post_injection_hook(None, model, grouped, ADAPTER_NAME)


def _title(config: TrialConfig) -> str:
    return f"peft {config.section.method}"


# Some PEFT methods overwrite the weights that they adapt: PiSSA, OLoRA, KaSA.
FAMILY = AdapterFamily(
    peft_config=passthrough,
    faults=passthrough_faults,
    after_injection=_share_lily,
    may_rewrite=True,
    title=_title,
)
