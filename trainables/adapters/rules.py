"""The rules that `validate`, a dry run and `inject_adapter` check: whether a configuration fits a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from trainables.adapters.block_span import blocks_fault, span_fault
from trainables.adapters.peft_arguments import argument_faults
from trainables.errors import AdapterError
from trainables.specs.adapters import AdaloraSpec, Adapter, LoraInit, Role
from trainables.specs.trial import TrialConfig
from trainables.wording import plural

MOST_BLOCKS = 256
"""The largest block count that a LocalizedLoraSpec accepts."""


def check_adapter_fits(
    config: TrialConfig,
    hidden: int,
    blocks: int | None,
    *,
    inner: int | None = None,
    total_steps: int | None = None,
) -> list[str]:
    """The errors of `config` for a model, with the values that would fit; empty if it fits.

    hidden: width of a token.  blocks: number of transformer blocks, None when unknown.  inner: width between
    the two MLP layers, 4·hidden when unknown.  total_steps: optimizer steps of the trial, if known.
    """
    found = []
    if config.blocks is not None and blocks is not None and (fault := span_fault(config.blocks, blocks)):
        found.append(fault)
    read = config.head.blocks
    if read is not None and blocks is not None and (fault := blocks_fault("head.blocks", read, blocks)):
        found.append(fault)
    if blocks is not None and config.frozen_blocks > blocks:
        found.append(
            f"frozen_blocks {config.frozen_blocks}: the model has {plural(blocks, 'block')}; "
            f"use a number from 0 to {blocks}"
        )
    rule = RULES.get(config.adapter)
    if rule is not None:
        found += rule(config, Fit(hidden, inner or 4 * hidden, total_steps))
    return found


@dataclass(frozen=True)
class Fit:
    """The values that an adapter must fit: widths of a token and of the MLP, optimizer steps if known."""

    hidden: int
    inner: int
    total_steps: int | None


@dataclass(frozen=True)
class AdaloraSteps:
    """AdaLoRA's schedule in optimizer steps: the total, and the steps before and after reallocation."""

    total: int
    tinit: int
    tfinal: int


def adalora_steps(spec: AdaloraSpec, total_steps: int) -> AdaloraSteps:
    """The shares of `spec` as steps of a trial of `total_steps`.

    Raises AdapterError if too few steps are left to reallocate ranks in. A trial without steps, or
    without shrinking ranks, has no schedule and always fits.
    """
    if total_steps < 1 or spec.init_rank == spec.target_rank:
        return AdaloraSteps(total=max(1, total_steps), tinit=0, tfinal=0)
    tinit, tfinal = int(spec.tinit * total_steps), int(spec.tfinal * total_steps)
    left, needed = total_steps - tinit - tfinal, max(2, spec.interval)
    if left < needed:
        raise AdapterError(
            f"adalora needs at least {needed} optimizer steps between tinit and tfinal to shrink its ranks "
            f"(interval {spec.interval}); of this trial's {plural(total_steps, 'step')}, tinit"
            f" {spec.tinit} and tfinal "
            f"{spec.tfinal} leave {left}: train for more epochs, use a smaller batch_size or accumulate, "
            "or lower adalora.interval, tinit or tfinal"
        )
    return AdaloraSteps(total_steps, tinit, tfinal)


def _too_few_steps(config: TrialConfig, fit: Fit) -> list[str]:
    if not fit.total_steps:
        return []
    try:
        adalora_steps(config.section, fit.total_steps)
    except AdapterError as error:
        return [str(error)]
    return []


def _indivisible(config: TrialConfig, fit: Fit) -> list[str]:
    count, hidden = config.section.blocks, fit.hidden
    widths = [("hidden size", hidden)]
    if {Role.MLP_IN, Role.MLP_OUT} & set(config.roles):
        widths.append(("MLP width", fit.inner))
    if all(width % count == 0 for _, width in widths):
        return []
    allowed = [
        n for n in range(2, min(hidden, MOST_BLOCKS) + 1) if all(width % n == 0 for _, width in widths)
    ]
    named = " and ".join(f"the {name} {width}" for name, width in widths)
    if not allowed:
        return [f"localized_lora.blocks {count} must divide {named}, which no number from 2 does"]
    return [f"localized_lora.blocks {count} must divide {named}; use {', '.join(map(str, allowed))}"]


def _too_high_for_its_start(config: TrialConfig, fit: Fit) -> list[str]:
    """Both initialisations take 2·rank directions of a layer, which has at most its smaller width."""
    spec = config.section
    if spec.init is LoraInit.RANDOM or not fit.hidden or 2 * spec.rank <= fit.hidden:
        return []
    return [
        f"lora.rank {spec.rank} is too high for init '{spec.init}', which needs 2 · rank directions of a "
        f"layer that has {fit.hidden}; use a rank of at most {fit.hidden // 2}"
    ]


def _peft_arguments(config: TrialConfig, fit: Fit) -> list[str]:
    return argument_faults(config.section.method, config.section.arguments, fit.hidden)


RULES: Mapping[Adapter, Callable[[TrialConfig, Fit], list[str]]] = {
    Adapter.ADALORA: _too_few_steps,
    Adapter.LORA: _too_high_for_its_start,
    Adapter.LOCALIZED_LORA: _indivisible,
    Adapter.PEFT: _peft_arguments,
}
"""The rules of families that do not fit every model."""
